//! The stated set: each rule on, then each taken out. `model table` runs it and fails where one is not as it should be.

use crate::run;
use std::time::Instant;

/// What a configuration is, its words, and whether it must have a violation.
type Line = (&'static str, &'static str, bool);

#[rustfmt::skip]
const LINES: &[Line] = &[
    ("forward, every fault", "forward", false),
    ("… and replays that are refused", "forward replay_refused=1 kinds=3", false),
    ("… backfill twice", "forward backfill=1 backfills=2 kinds=3", false),
    ("the obvious protocol", "obvious kinds=4", true),
    ("without 1: no upper bound", "forward bound=0", true),
    ("without 3: a cell of the future in the source", "forward legacy=1 backfill=1 kinds=3", true),
    ("without 6: a put does not look at tombstones", "forward put_tombstone=0 kinds=4", true),
    ("without 8: a delete does not look at the row", "forward delete_guard=0 kinds=4", true),
    ("without 9: a reconcile does not hold the range", "forward reconcile_range=0 kinds=4", true),
    ("without 9: a delete does not hold the range", "forward delete_range=0 kinds=4", true),
    ("without 12: a refused write's intent goes", "forward refused_stays=0 kinds=4", true),
    ("without 15a: no claim", "forward claim=0 kinds=4", true),
    ("without 15b: a refused replay counts as done", "forward replay_refused=1 refused_replay_stays=0 kinds=4", true),
    ("without 15d: all intents are removed", "forward remove=0 kinds=4", true),
    ("without 19: skipped keys are left alone", "forward recheck=0 kinds=4", true),
    ("epochs, every fault", "epochs", false),
    ("without 2: a stamp is the clock alone", "epochs stamp_above_known=0 kinds=3", true),
    ("without 20: the epoch is looked at, not held", "epochs hold_epoch=0 kinds=3", true),
    ("without 21: flip, then drain", "epochs close_first=0 flip_checked=1 kinds=3", true),
    ("without 23: a reverse stamp is the clock alone", "epochs reverse_above_known=0 kinds=3", true),
    ("without 24: an absent update leaves an intent", "epochs absent_update_leaves_nothing=0 kinds=4", true),
    ("a repair during the flip", "epochs repair=1 flips=1 kinds=3", false),
    ("without 22: the waiting statement goes on with the epoch it read", "epochs repair=1 epoch_after_lock=0 kinds=3", true),
    ("… and workers take the present epoch's intents", "epochs repair=1 epoch_after_lock=0 closed_is_bad=0 own_epoch=1 flips=1 kinds=3", true),
    ("… and workers settle it in its own direction", "epochs repair=1 epoch_after_lock=0 closed_is_bad=0 kinds=3", true),
    ("a writer that accepts", "epochs accept=1 strict=0 kinds=3", false),
    ("without 3: the floor stays", "epochs accept=1 strict=0 kinds=3 floor_rises=0", true),
    ("without 31: an unclean writer does not matter", "epochs accept=1 strict=0 flips=1 kinds=3 clean_writers=0", true),
    ("… and signs off", "epochs accept=1 strict=0 flips=1 kinds=3 sign_off=1", false),
    ("without 29: with a write under way", "epochs accept=1 strict=0 flips=1 kinds=3 sign_off=1 sign_off_waits=0", true),
    ("without 29: with a write unrecorded", "epochs accept=1 strict=0 flips=1 kinds=3 sign_off=1 sign_off_records=0", true),
    ("without 29: and accepts afterwards", "epochs accept=1 strict=0 flips=1 kinds=3 sign_off=1 sign_off_refuses=0", true),
    ("… and is suspended, and fenced meanwhile", "epochs accept=1 strict=0 flips=1 kinds=2 sleep=1 crash=0", false),
    ("without 30: who was suspended accepts at once", "epochs accept=1 strict=0 flips=1 kinds=3 sleep=1 woken_asks=0", true),
    ("without 30: and acknowledges what may be too late", "epochs accept=1 strict=0 flips=1 kinds=3 sleep=1 woken_is_unsure=0", true),
    ("what nobody can mend: who is fenced though it runs, cut off from Postgres alone", "epochs accept=1 strict=0 flips=1 kinds=3 cut_off=1", true),
    ("a write that cannot be repeated, behind a proof", "epochs proof=1 unrepeatable=1 flips=1 kinds=3", false),
    ("without 17: its end disturbs nothing", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 noted=0", true),
    ("without 17: the window begins with the intent", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 window_from_end=0", true),
    ("without 17: noted when it is marked", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 noted=1", true),
    ("without 17: noted when it is picked", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 noted=2", true),
    ("without 17: a pass that was under way counts", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 pass_begun_after=0", true),
    ("without 17: the flip does not ask the gate again", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 proof_at_flip=0", true),
    ("… by one who is suspended within it", "epochs proof=1 unrepeatable=1 flips=1 kinds=2 sleep=1 crash=0", false),
    ("without 30: one who is suspended within it acknowledges it", "epochs proof=1 unrepeatable=1 flips=1 kinds=3 sleep=1 woken_is_unsure=0", true),
    ("… made without an intent", "epochs accept=1 strict=0 proof=1 unrepeatable=1 flips=1 kinds=3", false),
    ("without 17: what raised is recorded as finished", "epochs accept=1 strict=0 proof=1 unrepeatable=1 flips=1 kinds=3 raised_is_unsure=0", true),
    ("an operator gives intents up", "epochs proof=1 resolve=1 replay_refused=1 flips=1 kinds=3 refuse=0 postgres_fails=0", false),
    ("… that disturbs nothing", "epochs proof=1 resolve=1 replay_refused=1 flips=1 kinds=3 refuse=0 postgres_fails=0 noted=0", true),
    ("… noted when the operator speaks", "epochs proof=1 resolve=1 flips=1 kinds=3 refuse=0 postgres_fails=0 noted=1", true),
    ("… while its writer may be at it", "epochs proof=1 resolve=1 replay_refused=1 flips=1 kinds=3 refuse=0 postgres_fails=0 resolve_waits=0", true),
    ("… one of a key's, after the cut-over", "epochs proof=1 resolve=1 flips=1 kinds=3 refuse=0 postgres_fails=0 resolve_whole_key=0", true),
    ("a rollback without proof", "epochs proof=1 resolve=1 fast=1 flips=2 kinds=3 refuse=0 postgres_fails=0", false),
    ("… though an intent was given up since the cut-over", "epochs proof=1 resolve=1 fast=1 flips=2 kinds=3 refuse=0 postgres_fails=0 fast_undisturbed=0", true),
    ("… where a write could not be repeated before it", "epochs proof=1 unrepeatable=1 fast=1 flips=2 kinds=3", false),
    ("changes by others in Cassandra, told by two logs", "epochs foreign=1 replicas=2 flips=1 kinds=3", false),
    ("… and a rollback", "epochs foreign=1 kinds=3", false),
    ("… beside a recheck of something else", "epochs foreign=1 repair=1 flips=0 kinds=3", false),
    ("without C1: nobody tells", "epochs foreign=1 flips=1 kinds=3 announces=0", true),
    ("without C1: a recheck that is picked stands for a new one", "epochs foreign=1 repair=1 flips=0 kinds=3 recheck_is_new=0", true),
    ("without C2: the event's version is not kept", "epochs foreign=1 flips=1 kinds=3 carries_version=0", true),
    ("without C3: the key is read as soon as one node tells", "epochs foreign=1 flips=1 kinds=3 not_before=0", true),
    ("logs that are lost, behind a proof", "epochs foreign=1 proof=1 gaps=1 flips=1 kinds=3", false),
    ("without C4: a gap does not matter", "epochs foreign=1 proof=1 gaps=1 flips=1 kinds=3 gap_disturbs=0", true),
    ("without C4: it is recorded at once", "epochs foreign=1 proof=1 gaps=1 flips=1 kinds=3 gap_waits=0", true),
    ("without C4: before the wrapper's clocks have passed the foreign ones", "epochs foreign=1 proof=1 gaps=1 flips=1 kinds=3 gap_waits_for_clocks=0", true),
    ("without C4: a pass looks at keys that are being written", "epochs foreign=1 proof=1 gaps=1 flips=1 kinds=3 gap_pass_waits=0", true),
    ("without C5: a flip does not wait for what was told", "epochs foreign=1 flips=1 kinds=3 caught_up=0", true),
    ("strays: foreign writers begin after the cut-over", "epochs foreign=1 flips=1 kinds=3 foreign_stops=2", false),
    ("without C2: the version of a stray is not kept", "epochs foreign=1 flips=1 kinds=3 foreign_stops=2 carries_version=0", true),
    ("equal timestamps, and nothing is dropped", "epochs foreign=1 tie=1 flips=1 kinds=3", false),
    ("C6: what has the version of the row, and says the same, is dropped", "epochs foreign=1 tie=1 drop_own=4 flips=1 kinds=4", false),
    ("without C6: what has a known version is dropped", "epochs foreign=1 tie=1 drop_own=1 flips=0 kinds=3", true),
    ("without C6: the first of a known version is dropped", "epochs foreign=1 tie=1 drop_own=2 flips=0 kinds=3", true),
    ("without C6: what has the version of the row is dropped", "epochs foreign=1 drop_own=3 flips=1 kinds=3", true),
    ("any SQL in Postgres, and a rollback", "epochs sql=1 kinds=3", false),
    ("… in a snapshot of its own", "epochs sql=1 sql_repeatable=1 kinds=3", false),
    ("… beside a recheck of something else", "epochs sql=1 repair=1 flips=1 kinds=3", false),
    ("without 15d: a reconcile whose intents are gone goes on", "epochs sql=1 kinds=3 picked_is_left=0", true),
    ("without C7: the epoch is looked at, not held", "epochs sql=1 kinds=3 sql_holds_epoch=0", true),
    ("without C7: the epoch is that of the snapshot", "epochs sql=1 sql_repeatable=1 kinds=3 sql_reads_now=0", true),
    ("without C8: a trigger that is disabled", "epochs sql=1 kinds=3 sql_announces=0", true),
    ("without C8: the version of a row that is gone is not kept", "epochs sql=1 kinds=3 sql_carries_version=0", true),
    ("without C8: a recheck that is picked stands for a new one", "epochs sql=1 repair=1 flips=1 kinds=3 recheck_is_new=0", true),
    ("without 27: a recheck's resend keeps the row's version", "epochs sql=1 kinds=3 recheck_raises=0", true),
    ("a partition's delete beside writes of its keys and the backfill, every fault", "partition", false),
    ("… of a range of it", "partition range=1 kinds=2", false),
    ("… which counts as one of the whole partition, as in the product", "partition range=1 coarse=1 kinds=2", false),
    ("… the same, before a cut-over", "partition range=1 coarse=1 backfill=0 flips=1", false),
    ("… the same, under Postgres as primary, and a rollback", "partition range=1 coarse=1 reverse=1 flips=1", false),
    ("… before a cut-over", "partition backfill=0 flips=1", false),
    ("… before a cut-over and a rollback", "partition backfill=0 flips=2 kinds=1", false),
    ("… two of them", "partition partitions=2", false),
    ("… and two puts, with few faults", "partition writers=3 backfill=0 kinds=1 crash=0 timeout=0 refuse=0 postgres_fails=0 slow_stamp=0", false),
    ("… under Postgres as primary, and a rollback", "partition reverse=1 flips=1", false),
    ("… which sends a delete of each key that had a row", "partition reverse=1 resend_as=2", false),
    ("… whose workers leave rechecks instead of the target's half", "partition expands=1", false),
    ("a partition's lock taken out: no lock", "partition lock=0", true),
    ("… the locks of the keys that have a row", "partition lock=1", true),
    ("… the locks of the keys that have a row, under Postgres as primary", "partition reverse=1 lock=1", true),
    ("… no lock, where workers leave rechecks", "partition expands=1 lock=0", true),
    ("a partition's tombstone taken out: a tombstone of each row deleted", "partition partition_tombstone=0", true),
    ("… where workers leave rechecks", "partition expands=1 partition_tombstone=0", true),
    ("… stamps do not see it", "partition stamp_sees_tombstone=0", true),
    ("… stamps do not see it, under Postgres as primary", "partition reverse=1 stamp_sees_tombstone=0", true),
    ("… puts do not see it", "partition put_sees_tombstone=0", true),
    ("… reconciles do not see it", "partition reconcile_sees_tombstone=0", true),
    ("… the merge does not see it", "partition merge_sees_tombstone=0", true),
    ("a partition's intent taken out: stamps do not see it", "partition stamp_sees_intent=0", true),
    ("… the drain does not see it", "partition flips=1 drain_sees_intent=0", true),
    ("… the drain does not see it before a rollback", "partition reverse=1 flips=1 drain_sees_intent=0", true),
    ("… its stamp is the clock alone", "partition partition_above_known=0", true),
    ("… its stamp is the clock alone, under Postgres as primary", "partition reverse=1 reverse_above_known=0", true),
    ("the target's half taken out: it deletes newer rows", "partition half_guard=0", true),
    ("… newer rows are left without a recheck", "partition newer_is_rechecked=0", true),
    ("… it does not hold the range", "partition half_range=0", true),
    ("… rechecks without the target's rows", "partition expands=1 expand_target=0", true),
    ("a partition's replay taken out: an unsure delete is not sent again", "partition resends=0", true),
    ("… a refused one counts as done", "partition refused_replay_stays=0", true),
    ("… it is not claimed", "partition claim=0", true),
    ("a partition's resend with a new version", "partition reverse=1 resend_as=1", true),
    ("counters while Postgres is primary, every fault", "counters", false),
    ("… and two crashes", "counters crashes=2 refusals=0", false),
    ("… a worker is suspended between its last look at the clock and the sending", "counters crashes=0 sleep=1", false),
    ("without “counters”: the intents' own amounts are sent, whatever the source shows", "counters reads=0", true),
    ("… no claim before an increment is sent", "counters claim=0 crashes=0", true),
    ("… a claim that may have an effect is not waited for", "counters waits=0", true),
    ("… an increment is sent after its claim's time", "counters send_within=0", true),
    ("… without an answer the time does not begin anew", "counters from_end=0", true),
    ("… the end of a claim removes newer intents", "counters own_intents=0", true),
    ("… who was suspended and lost its claim leaves no recheck", "counters lost_is_rechecked=0 sleep=1 crashes=0", true),
    ("… or one that does not wait, where there was no answer", "counters lost_waits=0 sleep=1 crashes=0", true),
    ("what nobody can mend: who was suspended dies when it has sent", "counters sleep=1", true),
];

/// Run the set, or the lines whose text contains one of `only`. Returns the exit code.
pub fn run_all(only: &[&str]) -> i32 {
    let begun = Instant::now();
    let mut wrong = 0;
    println!("| configuration | scenarios | states | violations | expected | CPU seconds |");
    println!("| --- | ---: | ---: | ---: | --- | ---: |");
    for (what, words, violated) in LINES {
        let wanted = only.is_empty() || only.iter().any(|word| what.contains(word) || words.contains(word));
        if !wanted {
            continue;
        }
        // One violation is enough; where there must be none, everything is explored.
        let (_, outcome) = run(&words.split(' ').chain(["enough=1"]).collect::<Vec<_>>());
        let violations = outcome.violations.len();
        // A scenario that was too large is none that was explored.
        let right = (violations > 0) == *violated && outcome.capped == 0;
        wrong += i32::from(!right);
        println!(
            "| {what}: `{words}` | {} | {} | {violations} | {}{} | {:.1} |",
            outcome.scenarios,
            outcome.states,
            if *violated { "some" } else { "none" },
            if right { "" } else { " **WRONG**" },
            outcome.seconds
        );
    }
    eprintln!("{wrong} not as expected, {:.0} s", begun.elapsed().as_secs_f64());
    i32::from(wrong > 0)
}
