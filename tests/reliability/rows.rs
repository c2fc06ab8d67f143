//! The rows of the fault table, the faults that were found, and what is not covered.

/// One kind of fault.
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) what: &'static str,
    /// Tests of `cargo test` that write no line of their own, and how much they do.
    pub(crate) without_lines: &'static [(&'static str, &'static str)],
}

const fn row(number: u64, what: &'static str) -> Row {
    Row { number, what, without_lines: &[] }
}

pub(crate) const ROWS: &[Row] = &[
    row(0, "deliberately broken engines are caught"),
    row(1, "kill -9 at random moments, exactly-once, transactional file sink"),
    row(2, "an end at each named step of the checkpoint and commit protocol"),
    row(3, "kill -9 and graceful stops under the other guarantees"),
    Row {
        number: 4,
        what: "any order of steps, faults and crashes on a disk that loses, tears and reorders",
        without_lines: &[
            (
                "tests/checkpoint_store/faults.rs::a_power_failure_at_any_operation_loses_nothing_that_was_told",
                "every operation",
            ),
            (
                "tests/event_log/random.rs::what_was_appended_comes_back_through_any_sequence_of_reopening_and_kills",
                "random histories of the event log",
            ),
        ],
    },
    Row {
        number: 5,
        what: "damaged checkpoints: cut at every byte, every bit flipped, blocks damaged",
        without_lines: &[
            (
                "tests/checkpoint_store/damage.rs::a_manifest_cut_anywhere_or_with_any_bit_flipped_falls_back_to_the_checkpoint_before",
                "every byte and bit",
            ),
            (
                "tests/checkpoint_store/damage.rs::a_part_cut_anywhere_or_with_any_bit_flipped_falls_back_to_the_checkpoint_before",
                "every byte and bit",
            ),
        ],
    },
    row(6, "errors of fsync and a full disk at every operation, then room again"),
    row(7, "panics and errors in every callback under every guarantee"),
    row(8, "transient failures and poison events"),
    row(9, "a consumer that is too slow or stalls; checkpoints under back-pressure"),
    row(10, "a checkpoint every millisecond, with failures"),
    row(11, "commits of a sink that fail before or after their effect"),
    row(12, "two processes on one directory; SIGSTOP, a successor, SIGCONT"),
    row(13, "sources that are empty or end in any order"),
    row(14, "random graphs against an interpreter"),
    Row {
        number: 15,
        what: "drawn schedules of the places where threads meet",
        without_lines: &[
            (
                "src/schedules.rs::a_queue_that_is_full_and_empty_in_turn_loses_nothing_and_wakes_both_sides",
                "35,000 schedules",
            ),
            (
                "src/schedules.rs::an_instance_that_parks_between_two_commands_obeys_both_in_order",
                "35,000 schedules",
            ),
            (
                "src/schedules.rs::a_source_that_waits_learns_of_every_event_once_and_of_none_too_early",
                "35,000 schedules",
            ),
        ],
    },
    Row {
        number: 16,
        what: "the acknowledger against a model",
        without_lines: &[(
            "src/delivery/at_least_once/algebra_tests.rs::any_trees_groups_failures_and_late_reports_are_counted_as_the_model_counts_them",
            "100,000 histories",
        )],
    },
    Row {
        number: 17,
        what: "extreme times, clocks that jump (in row 4 too)",
        without_lines: &[
            (
                "tests/callbacks/times.rs::the_least_and_the_greatest_watermark_pass_in_order",
                "every case",
            ),
            (
                "tests/callbacks/times.rs::a_timer_that_is_never_due_fires_neither_early_nor_after_a_restart_and_holds_up_no_stop",
                "every case",
            ),
            (
                "tests/callbacks/times.rs::options_of_endless_length_are_as_good_as_none",
                "every case",
            ),
        ],
    },
    row(18, "ten thousand instances start and stop; too many are refused"),
    row(19, "start, stop, drop and restart churn"),
    Row {
        number: 20,
        what: "golden files of the format versions",
        without_lines: &[
            (
                "tests/checkpoint_store/golden.rs::a_checkpoint_of_version_1_is_restored",
                "every file",
            ),
            ("tests/event_log/golden.rs::a_log_of_version_1_is_read_and_written_on", "every file"),
            (
                "tests/event_log/golden.rs::a_log_of_another_version_or_codec_is_refused_by_name_and_stays_as_it_is",
                "every file",
            ),
        ],
    },
    row(21, "damaged bytes for everything that reads bytes back"),
    Row {
        number: 22,
        what: "the account of every component, at the end of every simulated process (rows 3, 4, 13, 14) and of every test job",
        without_lines: &[
            (
                "tests/mission/accounts.rs::every_component_of_every_job_adds_up_under_every_guarantee_whatever_restarts",
                "every guarantee",
            ),
            (
                "tests/mission/accounts.rs::what_a_restart_loses_under_at_most_once_is_counted_and_told_wherever_it_was",
                "every place",
            ),
        ],
    },
    Row {
        number: 23,
        what: "identity: made again, moved, truncated, put back from an older copy, retained away; two sinks on one place",
        without_lines: &[
            (
                "tests/mission/log_positions.rs::a_log_that_was_made_anew_between_two_runs_is_refused",
                "every case",
            ),
            (
                "tests/mission/log_positions.rs::a_log_that_was_put_back_from_an_older_copy_is_refused_also_when_it_was_written_on",
                "every case",
            ),
            (
                "tests/mission/log_positions.rs::a_source_that_retention_has_overtaken_says_so_or_goes_on_as_its_policy_says",
                "every case",
            ),
            (
                "tests/mission/log_positions.rs::a_log_that_is_made_anew_under_a_source_that_follows_it_ends_the_job",
                "every case",
            ),
            (
                "tests/mission/lines.rs::another_file_in_the_place_of_the_one_that_was_read_is_refused",
                "every case",
            ),
            (
                "tests/mission/lines.rs::a_large_file_that_changed_just_before_the_position_or_at_its_beginning_is_refused",
                "every case",
            ),
            (
                "tests/mission/lines.rs::a_policy_reads_another_file_from_its_beginning_or_its_end",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::two_sinks_of_one_job_share_a_directory_and_lose_nothing",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::jobs_of_the_same_names_share_a_directory_and_neither_replaces_nor_discards_files_of_the_other",
                "every case",
            ),
            ("src/connectors/files/tests.rs::a_commit_replaces_no_file_of_its_name", "every case"),
            (
                "tests/mission/output_files.rs::a_sink_that_is_built_anew_after_a_panic_replaces_no_file",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::a_consumer_may_take_committed_files_away_between_runs_under_every_guarantee",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::names_are_given_once_where_nothing_is_stored",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::an_output_directory_that_a_consumer_took_away_is_made_again",
                "every case",
            ),
            (
                "src/connectors/files/tests.rs::a_number_is_known_from_the_state_where_the_last_checkpoint_had_nothing_to_commit",
                "every case",
            ),
        ],
    },
    Row {
        number: 24,
        what: "surroundings: links, foreign and unreadable entries, names that are not text, fork and exec, lock files removed",
        without_lines: &[
            (
                "tests/checkpoint_store/foreign.rs::what_others_put_into_a_checkpoint_is_left_and_all_else_is_cleaned",
                "every case",
            ),
            (
                "tests/checkpoint_store/foreign.rs::a_checkpoint_behind_a_symbolic_link_is_used_and_removed_like_any_other",
                "every case",
            ),
            (
                "tests/checkpoint_store/foreign.rs::what_is_behind_a_link_to_nothing_is_refused_by_name_and_never_none",
                "every case",
            ),
            (
                "tests/event_log/foreign.rs::what_is_not_of_the_log_is_left_alone_and_listed",
                "every case",
            ),
            (
                "tests/event_log/foreign.rs::a_file_of_the_log_that_cannot_be_read_is_refused_by_name",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::foreign_entries_in_the_output_directory_are_left_alone_and_hold_nothing_up",
                "every case",
            ),
            (
                "tests/checkpoint_store/ownership.rs::a_store_that_was_let_go_is_free_while_other_threads_start_processes",
                "every case",
            ),
            (
                "src/storage/real_disk.rs::the_lock_is_free_although_a_child_being_started_still_has_a_copy_of_the_file",
                "every case",
            ),
            (
                "tests/event_log/ownership.rs::a_writer_whose_lock_was_removed_is_fenced_before_it_changes_anything",
                "every case",
            ),
            (
                "tests/event_log/ownership.rs::a_writer_of_a_log_that_was_removed_or_made_again_claims_nothing",
                "every case",
            ),
            (
                "src/connectors/files/tests.rs::every_directory_that_is_made_is_there_after_a_power_failure",
                "every case",
            ),
            (
                "src/log/fault_tests.rs::the_names_of_all_directories_above_a_log_are_made_durable_whoever_made_them",
                "every case",
            ),
            (
                "tests/checkpoint_store/ownership.rs::a_store_of_a_relative_path_stays_where_it_was_when_the_program_goes_elsewhere",
                "every case",
            ),
            (
                "tests/event_log/identity.rs::a_reader_and_a_writer_of_a_relative_path_do_not_follow_the_working_directory",
                "every case",
            ),
            (
                "tests/mission/lines.rs::a_relative_path_counts_from_where_the_program_was_when_it_was_given",
                "every case",
            ),
            (
                "tests/mission/output_files.rs::a_sink_of_a_relative_path_stays_where_it_was_when_the_program_goes_elsewhere",
                "every case",
            ),
            (
                "tests/mission/errors.rs::a_store_that_cannot_be_used_is_told_with_its_path_and_the_reason",
                "every case",
            ),
            (
                "tests/mission/errors.rs::the_error_of_a_job_names_component_callback_and_every_cause_of_what_was_returned",
                "every case",
            ),
        ],
    },
    Row {
        number: 25,
        what: "every numeric option at 0, 1, its default and its maximum",
        without_lines: &[(
            "tests/mission/numbers.rs::every_numeric_option_runs_or_is_refused_by_name_at_0_at_1_and_at_its_greatest",
            "every option",
        )],
    },
];

/// What was found by these tests in this crate, and is fixed.
pub(crate) const FOUND: &[&str] = &[
    "When the newest checkpoint was damaged and an older one used, a transactional sink showed again what had been committed since (simulation with damaged checkpoints).",
    "A checkpoint in flight while the last instances ended was taken for the last one: what some had done since they answered it was lost under exactly-once (simulation; graceful stops of real processes).",
    "A checkpoint of which a component could not give its part (`prepare` or `state` failed) could be committed without it, and committed output was lost (simulation; callback matrix).",
    "A stop under at-least-once could save a position some milliseconds old, so that what was done came again (graceful stops).",
    "A process that was replaced while it stood still could take the store back, go on emitting under at-most-once, and write into its successor's pending files (SIGSTOP, SIGCONT).",
    "A temporary file that a power failure had left under two names was written into, which cut the execution id in use (simulation with two power failures).",
    "A state whose `Serialize` panics at the end left the job waiting for ever (callback matrix).",
    "A source that failed, could not encode its position and then could not be set up began anew, which repeated everything under at-most-once (callback matrix).",
    "An end mark of the event log numbered `u64::MAX` under a right checksum overflowed (damaged bytes).",
    "Somebody who only looked at a store while old checkpoints were being removed could be told that there was none (overtaken readers).",
    "What an instance keeps grew with the number of instances: ten thousand took gigabytes and half a minute (many instances).",
    "After a last checkpoint that failed, a finished job waited for the next interval (full disk).",
    "An event log lost synchronized records: a process was killed after it had renamed a new segment, the next one wrote on in it, and the power failed before the name was durable (histories of the event log).",
    "A file of output that a loss of power had left under both its names kept its job from going on (simulation).",
];

/// What no test covers.
pub(crate) const NOT_COVERED: &[&str] = &[
    "Disks and file systems as such. `fsync` is believed; the model of what a power failure leaves is that of the simulated disk, in which names in a directory may be old or new one by one, a rename in one directory leaves one name at least, and of all sectors one may be torn. No machine had its plug pulled.",
    "Network file systems: locks that are lost without notice are simulated by replacing the lock's file. Between the last look at the execution id and the rename of a manifest a successor can come in unseen; `docs/GUARANTEES.md` says so.",
    "Orders of threads beyond the drawn schedules of queue, waker, mailbox and acknowledger. Supervisor, writer and instances meet by messages, whose orders the simulation draws; weak memory orders are not explored.",
    "The simulation runs checkpoints, event logs and files of output on its disk. A source of lines reads real files, and is run in processes that are killed.",
    "Callbacks that never return end in a report and in a stop that gives up at its deadline; their thread cannot be ended. A panic while a panic unwinds aborts the process, as everywhere in Rust.",
    "A `Clone` or `Drop` of an event that panics where a stream is copied or dropped ends the execution; the error names the instance, and `engine` instead of the callback.",
    "Clocks that go backwards: the engine reads a monotonic one only. In the simulation it jumps ahead by up to a day.",
    "Other systems than Linux on x86-64, and machines with more than a few cores.",
];
