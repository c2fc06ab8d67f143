//! The table: what is broken where, and which test must notice.

/// One broken engine.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    /// What is there; exactly once in the file.
    pub(crate) whole: &'static str,
    /// What is put in its place.
    pub(crate) broken: &'static str,
    /// `file::test`.
    pub(crate) killed_by: &'static str,
}

const EXACTLY_ONCE: &str =
    "tests/simulation/histories.rs::exactly_once_shows_and_counts_everything_once_in_every_history";
const ACKNOWLEDGED: &str = "tests/simulation/histories.rs::at_least_once_with_an_acknowledger_loses_nothing_in_any_history";
const WITHOUT_A_STORE: &str = "tests/simulation/histories.rs::at_least_once_without_a_store_loses_nothing_while_the_process_lives";
const AT_MOST_ONCE: &str =
    "tests/simulation/histories.rs::at_most_once_repeats_nothing_in_any_history";

const SPLITS: &str = "tests/simulation/splits.rs::splits_are_read_as_the_guarantee_promises_with_another_parallelism_in_every_process";

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "lose what a slice of time has left of a batch",
        file: "src/executor/node/mod.rs",
        whole: "            self.pending.events.extend(events);\n            self.pending.roots",
        broken: "            drop(events);\n            self.pending.roots",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "refuse a sender that has nothing under way",
        file: "src/channel/queue.rs",
        whole: "!by_length_alone && !self.frames.is_empty()",
        broken: "!by_length_alone",
        killed_by: "src/channel/queue.rs::what_is_under_way_in_all_queues_together_is_bounded_and_an_empty_queue_takes_a_batch_all_the_same",
    },
    Mutant {
        name: "count what an instance works on as done",
        file: "src/channel/queue.rs",
        whole: "        let frame = self.frames.try_recv().ok()?;\n        if self.sender_waits",
        broken: "        let frame = self.frames.try_recv().ok()?;\n        self.budget.leave(frame.events());\n        if self.sender_waits",
        killed_by: "src/channel/queue.rs::what_is_under_way_in_all_queues_together_is_bounded_and_an_empty_queue_takes_a_batch_all_the_same",
    },
    Mutant {
        name: "deal a split out to two instances",
        file: "src/executor/splits.rs",
        whole: "filter(|(_, of)| **of == instance)",
        broken: "filter(|(_, of)| **of <= instance)",
        killed_by: SPLITS,
    },
    Mutant {
        name: "begin a split from the first although the store has its position",
        file: "src/executor/split_component.rs",
        whole: "                None => self.start_of(split)?,\n",
        broken: "                None => SplitStart::First,\n",
        killed_by: SPLITS,
    },
    Mutant {
        name: "restore all keys of a range in each instance that shares it",
        file: "src/checkpoint/restore.rs",
        whole: "Unit::Range(range) => range.and(reader.keys)?,",
        broken: "Unit::Range(range) => range.and(HashRange::ALL)?,",
        killed_by: "src/checkpoint/restore.rs::every_key_of_every_part_is_read_by_exactly_one_instance_from_any_to_any_parallelism",
    },
    Mutant {
        name: "begin a split that came back where the checkpoint has the one that was gone",
        file: "src/executor/splits.rs",
        whole: "self.gone.contains_key(split)",
        broken: "self.gone.is_empty() && self.gone.contains_key(split)",
        killed_by: "tests/mission/splits.rs::a_split_that_comes_back_is_new_and_does_not_begin_where_an_old_checkpoint_has_it",
    },
    Mutant {
        name: "build a source anew without the pause of the policy",
        file: "src/executor/source_instance/mod.rs",
        whole: "            Next::Now | Next::After(_) | Next::WhenWoken if self.component.is_none() => {\n                self.poll_at\n            }\n",
        broken: "",
        killed_by: "tests/mission/splits.rs::between_a_failure_of_a_source_and_its_next_start_lies_the_pause_of_the_restart_policy",
    },
    Mutant {
        name: "end an instance that has just been given a split",
        file: "src/executor/splits.rs",
        whole: "let over = self.version == version;",
        broken: "let over = self.version >= version;",
        killed_by: "src/executor/splits.rs::an_instance_that_has_just_been_given_a_split_is_not_over",
    },
    Mutant {
        name: "tell a source of a position that is in no complete checkpoint",
        file: "src/executor/source_instance/position.rs",
        whole: "self.saved.take_if(|(of, _)| *of <= checkpoint)",
        broken: "self.saved.take_if(|_| true)",
        killed_by: SPLITS,
    },
    Mutant {
        name: "forget that a manifest refers to a file of an older checkpoint",
        file: "src/checkpoint/directory_store/retention.rs",
        whole: "references.has(attempt, &entry.name) || (reached",
        broken: "(reached",
        killed_by: "tests/checkpoint_store/references.rs::a_part_of_an_earlier_checkpoint_is_read_also_when_that_checkpoint_is_gone",
    },
    Mutant {
        name: "restore only the source",
        file: "src/job/make.rs",
        whole: "let state = site.execution.state_of(&site.instance)?;",
        broken: "let state: Option<crate::checkpoint::EncodedState> = None;",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "forget to hold",
        file: "src/channel/inputs.rs",
        whole: "        self.lanes[lane].held = self.aligned;\n",
        broken: "",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "count an idle input in the watermark",
        file: "src/time/watermarks.rs",
        whole: "matches!(lane.stand, Stand::Active | Stand::Suspended)",
        broken: "lane.stand != Stand::Finished",
        killed_by: "tests/mission/watermarks.rs::an_idle_source_holds_nobody_back_until_its_next_event",
    },
    Mutant {
        name: "leave the watermark out of the state",
        file: "src/executor/node/mod.rs",
        whole: "Part::new(name, state).at(watermark)",
        broken: "Part::new(name, state).at(watermark.filter(|_| false))",
        killed_by: "tests/mission/watermarks.rs::a_job_that_goes_back_goes_back_to_the_watermarks_of_its_checkpoint",
    },
    Mutant {
        name: "keep the watermark of a call whose events are discarded",
        file: "src/api/source_output.rs",
        whole: "(self.watermark, self.idle) = (None, false);",
        broken: "self.idle = false;",
        killed_by: "tests/mission/watermarks.rs::a_watermark_of_a_call_whose_events_are_discarded_and_come_again_is_discarded_with_them",
    },
    Mutant {
        name: "cancel no timer",
        file: "src/executor/node/timers.rs",
        whole: "TimerRequest::Cancel(tag) => self.timers.cancel(tag),",
        broken: "TimerRequest::Cancel(tag) => self.timers.cancel(!tag),",
        killed_by: "tests/mission/timers.rs::cancelled_timers_do_not_fire_and_all_others_fire_once_under_every_guarantee",
    },
    Mutant {
        name: "acknowledge before emitting",
        file: "src/channel/outbox.rs",
        whole: "        context.ledger.send();\n",
        broken: "",
        killed_by: ACKNOWLEDGED,
    },
    Mutant {
        name: "commit before the checkpoint is sealed",
        file: "src/executor/component.rs",
        whole: "            self.prepared.extend(handle.map(|handle| (checkpoint, handle)));",
        broken: "            if let Some(handle) = handle { self.sink.commit(handle)?; }",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "seal before the parts are there",
        file: "src/checkpoint/coordinator.rs",
        whole: "        if !g.missing.is_empty() {\n            return Vec::new();\n        }\n",
        broken: "",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "rename before the content is durable",
        file: "src/checkpoint/directory_store/files.rs",
        whole: "        file.sync().map_err(failed(\"synchronize\", path))?;\n        Ok(file)",
        broken: "        Ok(file)",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "delete the old checkpoints before the new one is durable",
        file: "src/checkpoint/directory_store/commit.rs",
        whole: "    files.create_dir(&directory)?;\n",
        broken: "    files.create_dir(&directory)?;
    for old in super::recovery::attempts(files)?.into_iter().filter(|old| *old != attempt) {
        let old = old.path(files.root());
        for entry in files.list(&old)? {
            files.remove_file(&old.join(&entry.name))?;
        }
        files.remove_dir(&old)?;
    }
",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "leave what was shown by a checkpoint that is damaged",
        file: "src/executor/component.rs",
        whole: "                self.sink.rewind(newest)?;",
        broken: "                drop(newest);",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "skip the last parts of instances that have ended",
        file: "src/executor/checkpoint_writer.rs",
        whole: "            .filter(|(instance, _)| !answered.contains(instance))",
        broken: "            .filter(|_| false)",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "leave the small parts out of the checkpoint",
        file: "src/executor/checkpoint_writer.rs",
        whole: "        self.store_small_parts(checkpoint)\n    }\n",
        broken: "        Ok(())\n    }\n",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "take a checkpoint that was answered before an end for the last",
        file: "src/checkpoint/coordinator.rs",
        whole: "        self.phase = Phase::Sealing { checkpoint, last: false };\n        vec![Action::Commit { checkpoint, last: false }]",
        broken: "        let last = self.all_ended();\n        self.phase = Phase::Sealing { checkpoint, last };\n        vec![Action::Commit { checkpoint, last }]",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "report a checkpoint as saved though a part failed",
        file: "src/executor/instance.rs",
        whole: "        if self.context.fatal.is_none() {\n            self.reporter",
        broken: "        {\n            self.reporter",
        killed_by: "src/executor/instance.rs::parts_that_are_not_all_are_never_reported_as_saved",
    },
    Mutant {
        name: "put the barrier ahead of events that were polled before it",
        file: "src/executor/source_instance/mod.rs",
        whole: "Cut::Barriers { .. } => self.barrier = Some(checkpoint),",
        broken: "Cut::Barriers { .. } => self.inject(checkpoint),",
        killed_by: "tests/mission/d_checkpoints.rs::events_that_a_source_emitted_beyond_the_room_it_had_are_on_the_right_side_of_the_barrier",
    },
    Mutant {
        name: "count a late report of a root that is done",
        file: "src/delivery/at_least_once/tracker.rs",
        whole: "        self.slots.get_mut(index).filter(|slot| slot.stands_for.is_some())",
        broken: "        self.slots.get_mut(index)",
        killed_by: "src/delivery/at_least_once/tracker.rs::a_late_report_for_a_root_retired_in_the_middle_changes_nothing",
    },
    Mutant {
        name: "count a late report of a first attempt that failed",
        file: "src/delivery/at_least_once/counts.rs",
        whole: "    slot != DONE && slot != COMES_AGAIN\n",
        broken: "    slot != DONE\n",
        killed_by: "src/delivery/at_least_once/counts.rs::a_late_report_for_a_first_attempt_that_failed_changes_nothing",
    },
    Mutant {
        name: "let a full source sleep while an operator waits for it",
        file: "src/delivery/at_least_once/acknowledger.rs",
        whole: "self.first.front() >= front || self.all_held();",
        broken: "self.first.front() >= front;",
        killed_by: "src/delivery/at_least_once/kept.rs::a_full_source_is_woken_when_nothing_more_comes_by_itself",
    },
    Mutant {
        name: "let the front pass an event that comes again",
        file: "src/delivery/at_least_once/counts.rs",
        whole: "position(|slot| *slot != DONE)",
        broken: "position(|slot| is_live(*slot))",
        killed_by: "src/delivery/at_least_once/algebra_tests.rs::any_trees_groups_failures_and_late_reports_are_counted_as_the_model_counts_them",
    },
    Mutant {
        name: "save a position ahead of what is acknowledged",
        file: "src/delivery/at_least_once/kept.rs",
        whole: "self.marks.front().is_some_and(|(after, _)| *after <= self.answers.front)",
        broken: "self.marks.front().is_some()",
        killed_by: ACKNOWLEDGED,
    },
    Mutant {
        name: "lose what lies behind an event that panics in place",
        file: "src/executor/node/in_place.rs",
        whole: "            std::mem::swap(batch, &mut rest);\n",
        broken: "            batch.clear();\n",
        killed_by: "tests/callbacks/verbs.rs::a_function_that_panics_in_a_batch_loses_only_the_event_at_hand",
    },
    Mutant {
        name: "forget the failure of a flush",
        file: "src/executor/node/failure.rs",
        whole: "Verdict::Fail => context.ledger.fail_since(self.reported, failure),",
        broken: "Verdict::Fail => {}",
        killed_by: WITHOUT_A_STORE,
    },
    Mutant {
        name: "emit before the position is durable",
        file: "src/executor/source_instance/position.rs",
        whole: "Ok(position) if persist => self.persist(&position),",
        broken: "Ok(_) if persist => {}",
        killed_by: AT_MOST_ONCE,
    },
    Mutant {
        name: "leave what a restart loses out of the account",
        file: "src/executor/supervisor/mod.rs",
        whole: "Action::Settle(failure) => self.settle(&failure),",
        broken: "Action::Settle(_) => {}",
        killed_by: AT_MOST_ONCE,
    },
    Mutant {
        name: "call an instance stuck before everybody has been heard",
        file: "src/executor/supervisor/lifecycle.rs",
        whole: "let out_of_patience = matches!(event, Event::Quiet);",
        broken: "let out_of_patience = true;",
        killed_by: "src/executor/supervisor/lifecycle_tests.rs::who_is_gone_is_not_called_stuck_because_nobody_had_read_that_in_time",
    },
    Mutant {
        name: "start over beside an instance that has not ended",
        file: "src/executor/supervisor/lifecycle.rs",
        whole: "Why::Failed(failure) if !stuck.is_empty() => {",
        broken: "Why::Failed(failure) if stuck.len() > 99 => {",
        killed_by: "src/executor/supervisor/lifecycle_tests.rs::after_a_failure_an_instance_that_does_not_end_in_time_is_named_and_the_job_does_not_start_over",
    },
    Mutant {
        name: "end the job before the sinks have committed the last checkpoint",
        file: "src/executor/supervisor/lifecycle.rs",
        whole: "State::Finishing if self.execution.instances_are_gone() => {",
        broken: "State::Finishing => {",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "write a part of a checkpoint that was given up",
        file: "src/executor/writer_queue.rs",
        whole: "if checkpoint <= tasks.settled {",
        broken: "if checkpoint < tasks.settled {",
        killed_by: "src/executor/writer_queue.rs::parts_that_come_after_their_checkpoint_was_given_up_are_not_written",
    },
    Mutant {
        name: "count an event that arrived in the account of nobody",
        file: "src/executor/node/mod.rs",
        whole: "        self.counters.received.add(batch.len() as u64);\n",
        broken: "",
        killed_by: EXACTLY_ONCE,
    },
    Mutant {
        name: "answer a question for a checkpoint with one that was under way",
        file: "src/checkpoint/coordinator.rs",
        whole: "                self.asked.push(ticket);\n",
        broken: "                self.answers.push(ticket);\n",
        killed_by: "tests/mission/requests.rs::checkpoint_now_names_a_cut_that_is_taken_after_the_call",
    },
    Mutant {
        name: "read a state as whatever type it now has",
        file: "src/executor/blueprint.rs",
        whole: "(Some(then), StateShape::Known(now)) if then != now => {",
        broken: "(Some(then), StateShape::Known(now)) if then.is_empty() && then != now => {",
        killed_by: "tests/mission/state_types.rs::a_state_of_another_type_is_refused_before_a_thread_starts_and_the_error_says_what_differs",
    },
    Mutant {
        name: "store a state without a look whether it comes back",
        file: "src/executor/checkpoint_writer.rs",
        whole: "            true => part.write_and_read_back(to),\n",
        broken: "            true => part.write(to),\n",
        killed_by: "tests/mission/state_types.rs::a_state_that_cannot_be_given_back_is_found_when_the_first_of_it_is_taken_and_named",
    },
    Mutant {
        name: "accept what a dead execution writes",
        file: "src/checkpoint/directory_store/admission.rs",
        whole: "            Some(newest) if newest != execution => Err(StoreError::Fenced { execution, newest }),\n",
        broken: "",
        killed_by: "tests/checkpoint_store/ownership.rs::a_late_answer_of_the_execution_before_changes_nothing",
    },
    Mutant {
        name: "lose a wake-up when a full queue has room again",
        file: "src/channel/queue.rs",
        whole: "            self.sender.notify();\n",
        broken: "",
        killed_by: "tests/simulation/graphs.rs::random_graphs_show_what_an_interpreter_says_under_every_guarantee_and_fault",
    },
    Mutant {
        name: "call a record of the event log durable that is not synchronized",
        file: "src/log/partition.rs",
        whole: "        disk::sync(&*self.file, &self.dir.segment(self.active))?;\n",
        broken: "",
        killed_by: "tests/event_log/power.rs::what_is_durable_or_was_seen_is_there_after_every_loss_of_power_and_nothing_is_torn",
    },
    Mutant {
        name: "show readers of the event log what is not durable yet",
        file: "src/log/partition.rs",
        whole: "        disk::sync(&*self.file, &self.dir.segment(self.active))?;\n        self.durable = self.next;\n        self.publish()\n",
        broken: "        self.durable = self.next;\n        self.publish()?;\n        disk::sync(&*self.file, &self.dir.segment(self.active))\n",
        killed_by: "tests/simulation/logs.rs::a_log_that_one_job_writes_and_another_reads_loses_and_repeats_nothing_on_the_way",
    },
    Mutant {
        name: "go on in a segment whose name is not durable",
        file: "src/log/recovery.rs",
        whole: "    disk::sync_dir(&*dir.disk, &dir.path)?;\n\n    let mark",
        broken: "    let mark",
        killed_by: "src/log/fault_tests.rs::what_is_synced_by_the_writer_after_one_that_was_killed_survives_a_power_failure",
    },
    Mutant {
        name: "read on from another place of the log than the state says",
        file: "src/connectors/event_log/instance.rs",
        whole: "                Ok(next) => lane.position.next = next,",
        broken: "                Ok(_) => lane.position.next = lane.position.next.next(),",
        killed_by: "tests/simulation/logs.rs::a_log_that_one_job_writes_and_another_reads_loses_and_repeats_nothing_on_the_way",
    },
    Mutant {
        name: "prepare a file of output without synchronizing it",
        file: "src/connectors/files.rs",
        whole: "        file.sync()?;\n",
        broken: "",
        killed_by: "tests/simulation/files.rs::files_hold_every_event_once_in_every_history",
    },
    Mutant {
        name: "commit a file of output whose name is not durable",
        file: "src/connectors/files.rs",
        whole: "        // Also where nothing was renamed: whoever did may have died before it was durable.\n        self.sync_directory()",
        broken: "        Ok(())",
        killed_by: "tests/simulation/files.rs::files_hold_every_event_once_in_every_history",
    },
];
