//! Stories on the test bed: a real cluster. `tests/README.md` says what runs and how to add one.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests print what they do, and run programs"
)]

mod act;
mod argocd;
mod around;
mod causes;
mod engines;
mod events;
mod faults;
mod fleet;
mod floor;
mod gate;
mod gates;
mod gateway;
mod gitops;
mod hands;
mod input;
mod kubelet;
mod many;
mod observe;
mod people;
mod releases;
mod runner;
mod sandbox;
mod servers;
mod shop;
mod strategies;
mod surge;
mod watching;
mod waves;

use std::process::ExitCode;

use runner::Story;

/// Stories of one tier, each called as its function is.
macro_rules! stories {
    ($tier:ident: $($module:ident::$name:ident),* $(,)?) => {
        vec![$(Story::$tier(stringify!($name), $module::$name)),*]
    };
}

pub(crate) fn main() -> ExitCode {
    if let Some(code) = sandbox::nested() {
        return code;
    }
    let mut all = smoke();
    all.extend(matrix());
    all.extend(hands::stories());
    all.extend(around::stories());
    all.extend(input::stories());
    all.extend(waves::stories());
    all.extend(faults::stories());
    all.extend(engines::stories());
    all.extend(gateway::stories());
    all.extend(gates::stories());
    all.extend(people::stories());
    all.extend(strategies::stories());
    all.extend(surge::stories());
    all.extend(causes::stories());
    all.extend(watching::stories());
    all.extend(many::stories());
    all.extend(events::stories());
    all.extend(fleet::stories());
    all.extend(alone().into_iter().map(Story::alone));
    all.extend(with_argocd().into_iter().map(Story::with_argocd));
    runner::run(all)
}

/// Run with every `cargo test --workspace`.
fn smoke() -> Vec<Story> {
    stories![smoke:
        floor::a_commit_becomes_traffic,
        floor::an_alert_reaches_people,
        kubelet::a_crash_loop_is_seen_with_its_back_off,
        kubelet::a_drain_waits_for_the_hook_and_then_for_the_process,
        kubelet::a_pod_that_fits_nowhere_is_unschedulable,
        gitops::a_commit_is_applied_and_pruned,
        act::tested_pods_become_the_deployment_s_own,
        act::an_aborted_trial_leaves_no_trace,
        act::an_older_equal_set_is_gone_before_the_trial,
        act::a_worker_is_promoted_without_services,
        act::a_template_changed_on_its_way_in_is_refused,
        act::what_is_not_ours_is_left_alone,
        act::a_service_that_is_gone_is_named_by_no_route,
        sandbox::nothing_is_left_after_sigkill,
        sandbox::exit_codes_pass_through,
        sandbox::ctrl_c_arrives_once,
        sandbox::a_user_gets_in_or_is_told_why,
        releases::a_bad_release_is_reverted,
        releases::a_good_release_is_handed_over,
        releases::a_bad_release_survives_kills,
        releases::a_good_release_survives_kills,
        servers::the_world_works,
        servers::owner_references_are_guarded,
        servers::a_token_has_the_rights_of_its_account_only,
        observe::every_change_of_a_rollouts_objects_is_told,
        observe::one_look_reads_what_the_controllers_wrote,
        gate::the_policies_hold,
    ]
}

/// Run with `cargo test --test matrix`.
fn matrix() -> Vec<Story> {
    stories![matrix:
        gitops::a_wait_reports_what_is_not_ready_in_time,
        gitops::a_wait_reports_what_has_given_up,
        gitops::a_dependent_waits_for_what_it_depends_on,
        gitops::the_forge_refuses_and_is_forced,
        act::deleting_the_rollout_leaves_the_canary_alone,
        sandbox::no_world_is_left_after_sigkill,
    ]
}

/// The same; they kill servers, and have the world to themselves.
fn alone() -> Vec<Story> {
    stories![matrix:
        gitops::flux_pauses_and_survives_a_kill,
        observe::watches_outlive_the_api_server,
        servers::killed_servers_come_back,
        gate::the_webhook_holds,
        servers::the_policy_api_can_be_off,
    ]
}

/// The same; Argo CD is built and started for them.
fn with_argocd() -> Vec<Story> {
    stories![matrix:
        argocd::argocd_applies_waves_and_heals,
        argocd::argocd_compares_by_the_server,
    ]
}
