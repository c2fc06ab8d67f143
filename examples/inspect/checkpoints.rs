//! A directory of checkpoints: every attempt, what a start would do, and positions written ahead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use streamwork::BoxError;
use streamwork::checkpoint::{
    CheckpointStore, Condition, DirectoryStore, Manifest, Recovered, StoreError, Survey,
    SurveyedCheckpoint, SurveyedPosition,
};

use crate::words::{counted, time, with_causes};
use crate::{Verdict, dump, must_be_a_directory};

#[derive(Args)]
pub(crate) struct Question {
    /// The directory.
    dir: PathBuf,
    /// Prints the state of one instance, as `component[0]`, from the checkpoint that a start would
    /// use.
    #[arg(long, value_name = "COMPONENT[INSTANCE]")]
    dump: Option<String>,
    /// Lists the checkpoints that were set aside, and removes them if `--yes` is given too.
    #[arg(long, conflicts_with = "dump")]
    remove_set_aside: bool,
    /// Really removes.
    #[arg(long, requires = "remove_set_aside")]
    yes: bool,
}

pub(crate) fn inspect(question: &Question) -> Result<Verdict, BoxError> {
    must_be_a_directory(&question.dir)?;
    let store = DirectoryStore::open(&question.dir)?;
    let survey = store.survey()?;
    let is_store = !survey.checkpoints.is_empty()
        || !survey.positions.is_empty()
        || !matches!(survey.execution, Ok(None));
    if !is_store {
        return Err(format!("{} holds no checkpoints", question.dir.display()).into());
    }
    let start = store.latest();
    if let Some(name) = &question.dump {
        return dump::part(&store, start?, name);
    }
    if question.remove_set_aside {
        return remove_set_aside(&question.dir, &survey, start.is_ok(), question.yes);
    }
    print(&survey, &start);
    Ok(verdict(&survey, &start))
}

fn verdict(survey: &Survey, start: &Result<Option<Recovered>, StoreError>) -> Verdict {
    let of = |error: &StoreError| match error {
        StoreError::Damaged { .. } | StoreError::NoneUsable { .. } => Verdict::Damaged,
        _ => Verdict::Unreadable,
    };
    let checkpoints = survey.checkpoints.iter().map(|one| match &one.condition {
        Condition::Complete(_) | Condition::Unfinished => Verdict::Sound,
        Condition::UnknownFormat(_) | Condition::Unreadable(_) => Verdict::Unreadable,
        _ => Verdict::Damaged,
    });
    let positions = survey.positions.iter().filter_map(|one| one.newest.as_ref().err()).map(of);
    let others = [survey.execution.as_ref().err(), start.as_ref().err()];
    let others = others.into_iter().flatten().map(of);
    checkpoints.chain(positions).chain(others).max().unwrap_or(Verdict::Sound)
}

fn print(survey: &Survey, start: &Result<Option<Recovered>, StoreError>) {
    match &survey.execution {
        Ok(Some(execution)) => println!("newest execution: {execution}"),
        Ok(None) => println!("newest execution: none is noted"),
        Err(error) => println!("newest execution: {}", with_causes(error)),
    }
    println!("\ncheckpoints, newest first:");
    survey.checkpoints.iter().for_each(print_checkpoint);
    if survey.checkpoints.is_empty() {
        println!("  none");
    }
    println!();
    print_start(survey, start);
    if !survey.positions.is_empty() {
        println!("\npositions written ahead:");
        survey.positions.iter().for_each(print_position);
    }
}

fn print_checkpoint(one: &SurveyedCheckpoint) {
    let SurveyedCheckpoint { execution, checkpoint, directory, bytes, .. } = one;
    println!("  checkpoint {checkpoint} of execution {execution}: {}", condition(&one.condition));
    println!("    {directory}, {}", counted(*bytes, "byte"));
    if let Condition::Complete(manifest) = &one.condition {
        print_manifest(manifest);
    }
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Complete(_) => "complete, every part verifies".to_owned(),
        Condition::Damaged(error) => format!("DAMAGED: {}", with_causes(error)),
        Condition::UnknownFormat(error) => format!("of another version: {}", with_causes(error)),
        Condition::Unreadable(error) => format!("UNREADABLE: {}", with_causes(error)),
        Condition::Unfinished => "unfinished: it has no manifest; it is being taken or was given \
                                  up, and is removed when a newer one is complete"
            .to_owned(),
        Condition::SetAside(Some(error)) => format!("SET ASIDE: {}", with_causes(error)),
        Condition::SetAside(None) => "SET ASIDE, though it verifies now".to_owned(),
        other => format!("{other:?}"),
    }
}

fn print_manifest(manifest: &Manifest) {
    let taken = i64::try_from(manifest.taken_unix_ms).unwrap_or(i64::MAX);
    println!(
        "    job {:?}, cut: {}, taken {} UTC",
        manifest.job,
        manifest.cut,
        time(taken.min(253_402_300_799_999))
    );
    let mut components: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for part in &manifest.parts {
        let (parts, bytes) = components.entry(&part.name.component).or_default();
        (*parts, *bytes) = (*parts + 1, *bytes + part.bytes);
    }
    for (component, (parts, bytes)) in components {
        println!("    {component}: {}, {}", counted(parts, "part"), counted(bytes, "byte"));
    }
}

/// What a start would do, and why not something newer.
fn print_start(survey: &Survey, start: &Result<Option<Recovered>, StoreError>) {
    if let Err(error) = &survey.execution {
        println!("a start is refused: {}", with_causes(error));
        return;
    }
    let recovered = match start {
        Ok(Some(recovered)) => recovered,
        Ok(None) => {
            println!("a start begins from nothing: no checkpoint was ever complete");
            return;
        }
        Err(error) => {
            println!("a start is refused: {}", with_causes(error));
            return;
        }
    };
    let Manifest { execution, checkpoint, .. } = recovered.manifest;
    println!(
        "a start uses checkpoint {checkpoint} of execution {execution}: the newest that verifies"
    );
    for aside in &recovered.set_aside {
        println!("  not {aside}; it would be set aside");
    }
    let newer = survey.checkpoints.iter().filter(|one| {
        (one.execution, one.checkpoint) > (execution, checkpoint)
            && matches!(one.condition, Condition::Unfinished)
    });
    for one in newer {
        println!(
            "  not checkpoint {} of execution {}: it is not finished",
            one.checkpoint, one.execution
        );
    }
}

fn print_position(one: &SurveyedPosition) {
    match &one.newest {
        Ok((name, position)) => {
            println!("  {name}: {} ({})", dump::hex(&position.bytes), counted(one.bytes, "byte"));
        }
        Err(error) => println!("  {}: DAMAGED: {}", one.file, with_causes(error)),
    }
}

fn remove_set_aside(
    dir: &Path,
    survey: &Survey,
    can_start: bool,
    yes: bool,
) -> Result<Verdict, BoxError> {
    let is_aside = |one: &&SurveyedCheckpoint| matches!(one.condition, Condition::SetAside(_));
    let aside: Vec<_> = survey.checkpoints.iter().filter(is_aside).collect();
    if aside.is_empty() {
        println!("nothing was set aside");
        return Ok(Verdict::Sound);
    }
    if !survey.checkpoints.iter().any(|one| matches!(one.condition, Condition::Complete(_))) {
        return Err("no complete checkpoint is left: without those set aside a start would begin \
                    from nothing, so they are kept; move them away by hand if that is wanted"
            .into());
    }
    for one in &aside {
        let path = dir.join(&one.directory);
        if yes {
            std::fs::remove_dir_all(&path)?;
        }
        let what = if yes { "removed" } else { "would remove" };
        println!("{what} {}, {}", path.display(), counted(one.bytes, "byte"));
    }
    if !yes {
        println!("nothing was removed: add --yes");
    }
    Ok(if yes && can_start { Verdict::Sound } else { Verdict::Damaged })
}
