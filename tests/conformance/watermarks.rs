//! The family `watermarks`: how they follow from the times of events, and how those of several inputs are combined.

use std::time::Duration;

use serde_json::{Value, json};
use streamwork::EventTime;
use streamwork::testkit::{EventWatermarks, InputWatermarks, WatermarkStep};

/// What was said, as cases write it: nothing, one thing, or a list in order.
fn written(steps: &[WatermarkStep]) -> Value {
    let each: Vec<Value> = steps
        .iter()
        .map(|step| match step {
            WatermarkStep::Active => json!("active"),
            WatermarkStep::Watermark(to) => json!(to.unix_ms()),
            WatermarkStep::Idle => json!("idle"),
            other => panic!("{other:?} is new"),
        })
        .collect();
    match &each[..] {
        [] => Value::Null,
        [one] => one.clone(),
        _ => Value::Array(each),
    }
}

fn steps(case: &Value) -> Result<&Vec<Value>, String> {
    case["steps"].as_array().ok_or_else(|| "it has no steps".to_owned())
}

fn number(value: &Value) -> Result<u64, String> {
    value.as_u64().ok_or_else(|| format!("{value} is not a number"))
}

fn time(value: &Value) -> Result<EventTime, String> {
    value.as_i64().map(EventTime::from_unix_ms).ok_or_else(|| format!("{value} is not a time"))
}

/// The watermark of so many inputs.
///
/// # Errors
/// What differs.
pub(crate) fn combine(case: &Value) -> Result<(), String> {
    let inputs = number(&case["operator"]["combine"])? as usize;
    let mut combined = InputWatermarks::of(inputs);
    for (number_of_step, step) in steps(case)?.iter().enumerate() {
        let input = number(&step["input"])? as usize;
        if input >= inputs {
            return Err(format!("step {number_of_step} is of input {input} of {inputs}"));
        }
        let said = if !step["watermark"].is_null() {
            combined.watermark(input, time(&step["watermark"])?)
        } else if !step["idle"].is_null() {
            combined.idle(input)
        } else if !step["active"].is_null() {
            combined.active(input)
        } else if !step["end"].is_null() {
            combined.end(input)
        } else {
            return Err(format!("step {number_of_step} is of an unknown kind: {step}"));
        };
        let said = written(&said);
        if step.get("emits").is_some_and(|expected| *expected != said) {
            return Err(format!("step {number_of_step}, {step}: it says {said}"));
        }
    }
    Ok(())
}

/// The watermarks of one stream of events.
///
/// # Errors
/// What differs.
pub(crate) fn generate(case: &Value) -> Result<(), String> {
    let rules = &case["operator"]["generate"];
    let mut events = EventWatermarks::bounded(Duration::from_millis(number(&rules["bounded"])?));
    if !rules["idle_after"].is_null() {
        events = events.idle_after(Duration::from_millis(number(&rules["idle_after"])?));
    }
    let (mut watermark, mut idle) = (Value::Null, false);
    for (number_of_step, step) in steps(case)?.iter().enumerate() {
        let said = if !step["ts"].is_null() {
            events.batch([time(&step["ts"])?])
        } else if !step["advance"].is_null() {
            events.pause(Duration::from_millis(number(&step["advance"])?))
        } else {
            Vec::new()
        };
        for one in said {
            match one {
                WatermarkStep::Active => idle = false,
                WatermarkStep::Watermark(to) => watermark = json!(to.unix_ms()),
                WatermarkStep::Idle => idle = true,
                other => return Err(format!("{other:?} is new")),
            }
        }
        let differs = |field: &str, now: &Value| step.get(field).is_some_and(|said| said != now);
        if differs("watermark_now", &watermark) || differs("idle_now", &json!(idle)) {
            let now = format!("the watermark is {watermark}, idle is {idle}");
            return Err(format!("step {number_of_step}, {step}: {now}"));
        }
    }
    Ok(())
}
