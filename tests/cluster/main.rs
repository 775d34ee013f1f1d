//! Stories on the test bed: a real cluster. `tests/README.md` says what runs and how to add one.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests print what they do, and run programs"
)]

mod act;
mod argocd;
mod floor;
mod gate;
mod gitops;
mod kubelet;
mod observe;
mod releases;
mod runner;
mod sandbox;
mod servers;
mod shop;

use std::process::ExitCode;

use runner::{Story, Tier};

fn main() -> ExitCode {
    if let Some(code) = sandbox::nested() {
        return code;
    }
    runner::run(
        Tier::Smoke,
        vec![
            Story::smoke("a_commit_becomes_traffic", floor::a_commit_becomes_traffic),
            Story::smoke("an_alert_reaches_people", floor::an_alert_reaches_people),
            Story::smoke(
                "a_crash_loop_is_seen_with_its_back_off",
                kubelet::a_crash_loop_is_seen_with_its_back_off,
            ),
            Story::smoke(
                "a_drain_waits_for_the_hook_and_then_for_the_process",
                kubelet::a_drain_waits_for_the_hook_and_then_for_the_process,
            ),
            Story::smoke(
                "a_pod_that_fits_nowhere_is_unschedulable",
                kubelet::a_pod_that_fits_nowhere_is_unschedulable,
            ),
            Story::smoke("a_commit_is_applied_and_pruned", gitops::a_commit_is_applied_and_pruned),
            Story::matrix(
                "a_wait_reports_what_is_not_ready_in_time",
                gitops::a_wait_reports_what_is_not_ready_in_time,
            ),
            Story::matrix(
                "a_wait_reports_what_has_given_up",
                gitops::a_wait_reports_what_has_given_up,
            ),
            Story::matrix(
                "a_dependent_waits_for_what_it_depends_on",
                gitops::a_dependent_waits_for_what_it_depends_on,
            ),
            Story::matrix(
                "the_forge_refuses_and_is_forced",
                gitops::the_forge_refuses_and_is_forced,
            ),
            Story::matrix(
                "flux_pauses_and_survives_a_kill",
                gitops::flux_pauses_and_survives_a_kill,
            )
            .alone(),
            Story::smoke(
                "tested_pods_become_the_deployment_s_own",
                act::tested_pods_become_the_deployment_s_own,
            ),
            Story::smoke("an_aborted_trial_leaves_no_trace", act::an_aborted_trial_leaves_no_trace),
            Story::smoke(
                "an_older_equal_set_is_gone_before_the_trial",
                act::an_older_equal_set_is_gone_before_the_trial,
            ),
            Story::smoke(
                "a_worker_is_promoted_without_services",
                act::a_worker_is_promoted_without_services,
            ),
            Story::smoke(
                "a_template_changed_on_its_way_in_is_refused",
                act::a_template_changed_on_its_way_in_is_refused,
            ),
            Story::smoke("what_is_not_ours_is_left_alone", act::what_is_not_ours_is_left_alone),
            Story::matrix(
                "deleting_the_rollout_leaves_the_canary_alone",
                act::deleting_the_rollout_leaves_the_canary_alone,
            ),
            Story::matrix("argocd_applies_waves_and_heals", argocd::argocd_applies_waves_and_heals)
                .with_argocd(),
            Story::matrix("argocd_compares_by_the_server", argocd::argocd_compares_by_the_server)
                .with_argocd(),
            Story::smoke("nothing_is_left_after_sigkill", sandbox::nothing_is_left_after_sigkill),
            Story::smoke("exit_codes_pass_through", sandbox::exit_codes_pass_through),
            Story::smoke("ctrl_c_arrives_once", sandbox::ctrl_c_arrives_once),
            Story::smoke("a_user_gets_in_or_is_told_why", sandbox::a_user_gets_in_or_is_told_why),
            Story::matrix("no_world_is_left_after_sigkill", sandbox::no_world_is_left),
            Story::smoke("a_bad_release_is_reverted", releases::a_bad_release_is_reverted),
            Story::smoke("a_good_release_is_handed_over", releases::a_good_release_is_handed_over),
            Story::smoke("a_bad_release_survives_kills", releases::a_bad_release_survives_kills),
            Story::smoke("a_good_release_survives_kills", releases::a_good_release_survives_kills),
            Story::smoke("the_world_works", servers::the_world_works),
            Story::smoke("owner_references_are_guarded", servers::owner_references_are_guarded),
            Story::smoke(
                "a_token_has_the_rights_of_its_account_only",
                servers::a_token_has_the_rights_of_its_account_only,
            ),
            Story::smoke(
                "every_change_of_a_rollouts_objects_is_told",
                observe::every_change_of_a_rollouts_objects_is_told,
            ),
            Story::smoke(
                "one_look_reads_what_the_controllers_wrote",
                observe::one_look_reads_what_the_controllers_wrote,
            ),
            Story::matrix(
                "watches_outlive_the_api_server",
                observe::watches_outlive_the_api_server,
            )
            .alone(),
            Story::matrix("killed_servers_come_back", servers::killed_servers_come_back).alone(),
            Story::smoke("the_policies_hold", gate::the_policies_hold),
            Story::matrix("the_webhook_holds", gate::the_webhook_holds).alone(),
            Story::matrix("the_policy_api_can_be_off", servers::the_policy_api_can_be_off).alone(),
        ],
    )
}
