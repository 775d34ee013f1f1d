//! Stories on the test bed: a real cluster. `tests/README.md` says what runs and how to add one.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests print what they do, and run programs"
)]

mod gate;
mod gitops;
mod kubelet;
mod observe;
mod runner;
mod sandbox;
mod servers;

use std::process::ExitCode;

use runner::{Story, Tier};

fn main() -> ExitCode {
    if let Some(code) = sandbox::nested() {
        return code;
    }
    runner::run(
        Tier::Smoke,
        vec![
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
            Story::smoke("nothing_is_left_after_sigkill", sandbox::nothing_is_left_after_sigkill),
            Story::smoke("exit_codes_pass_through", sandbox::exit_codes_pass_through),
            Story::smoke("ctrl_c_arrives_once", sandbox::ctrl_c_arrives_once),
            Story::smoke("a_user_gets_in_or_is_told_why", sandbox::a_user_gets_in_or_is_told_why),
            Story::matrix("no_world_is_left_after_sigkill", sandbox::no_world_is_left),
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
