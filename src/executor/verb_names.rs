//! Names that are made of a verb and its place among the verbs of the job: `count`, `count 2`. With a verb added or
//! removed such a name can come to another component, which would take over state that is not its own.

use std::collections::BTreeSet;

use crate::executor::blueprint::ComponentPlan;

/// Whether the components with state that have such names are those that a checkpoint has state of, except those that
/// start anew; if not, why (state P5).
pub(crate) fn are_those_of<'a>(
    stored: impl Iterator<Item = &'a str>,
    components: &[ComponentPlan],
    anew: &BTreeSet<String>,
) -> Result<(), String> {
    let own: BTreeSet<&str> =
        components.iter().filter(|of| of.verb.is_none()).map(|of| &*of.name).collect();
    let stored: BTreeSet<&str> =
        stored.filter(|name| !own.contains(name) && !anew.contains(*name)).collect();
    let unnamed = || components.iter().filter(|of| !anew.contains(&of.name));
    for verb in unnamed().filter_map(|of| of.verb) {
        let now: BTreeSet<&str> =
            unnamed().filter(|of| of.verb == Some(verb)).map(|of| &*of.name).collect();
        let then: BTreeSet<&str> =
            stored.iter().copied().filter(|name| is_made_of(name, verb)).collect();
        if !then.is_empty() && then != now {
            return Err(format!(
                "it has state of {} and the job has {}, which are names that say only the place of a `{verb}` among the others, so whose state it is cannot be told: give each a name with `named`; one that is named like the state takes it over (or choose `start_anew` for each that is new or gone)",
                list(&then),
                list(&now),
            ));
        }
    }
    Ok(())
}

/// Whether a name is `verb` or `verb 2`.
fn is_made_of(name: &str, verb: &str) -> bool {
    match name.strip_prefix(verb) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(' ').is_some_and(|n| n.parse::<usize>().is_ok()),
        None => false,
    }
}

fn list(names: &BTreeSet<&str>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    names.join(", ")
}
