//! The top hashtags of a stream of posts, and which guarantee they need.
//!
//! At-most-once is enough. A ranking depends on large differences: a lost post changes a count by one
//! in thousands and does not change the order, and the next minute's posts replace this minute's
//! anyway. In return nothing is tracked, nothing is stored and no post waits for a checkpoint.
//! Counts that are *too high* would not hurt either; a delay would.
//! If somebody were paid by these counts, one line would change: `AtMostOnce` to `ExactlyOnce`.
//!
//! Some posts make the parser fail here. They are dropped and counted; the ranking is compared with
//! the truth.
//!
//! ```sh
//! cargo run --release --example hashtags
//! ```
//!
//! Expected output:
//!
//! ```text
//! rank  hashtag  counted  truth
//!    1  #rust      30453  30481
//!    2  #cats      16387  16404
//!    3  #coffee    11706  11724
//!    4  #rain      11699  11707
//!    5  #monday     8591   8596
//! 50000 posts, 50 lost, the order is right: true
//! ```

mod course;

use std::collections::BTreeMap;

use streamwork::testkit::Collected;
use streamwork::{AtMostOnce, BoxError, Job};

const POSTS: u64 = 50_000;
const TAGS: [&str; 8] =
    ["#rust", "#cats", "#rain", "#coffee", "#monday", "#music", "#trains", "#tea"];

/// The same posts in every run: low numbers of a multiplicative hash are common tags.
fn post(number: u64) -> String {
    let mixed = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize;
    let (first, second) = (mixed % 8 * (mixed / 8 % 8) / 8, mixed / 64 % 8);
    let broken = if number % 1_000 == 999 { "\u{fffd}" } else { "" };
    format!("post {number}: {} and {} today{broken}", TAGS[first], TAGS[second])
}

fn hashtags(post: &str) -> Vec<String> {
    post.split(' ').filter(|word| word.starts_with('#')).map(String::from).collect()
}

fn ranked(counts: impl IntoIterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(a, n), (b, m)| m.cmp(n).then(a.cmp(b)));
    counts
}

fn main() -> Result<(), BoxError> {
    course::help(include_str!("hashtags.rs"));
    let counted = Collected::new();
    let job = Job::new("hashtags");
    job.from_iter("posts", || (0..POSTS).map(post))
        .try_map(|post| if post.contains('\u{fffd}') { Err("not text".into()) } else { Ok(post) })
        .named("parse")
        .flat_map(|post| hashtags(&post))
        .key_by(|tag| tag.clone())
        .count()
        .at_end()
        .parallelism(2)
        .sink("counted", counted.factory());
    let report = job.run(AtMostOnce::new())?;

    let mut truth = BTreeMap::new();
    for tag in (0..POSTS).flat_map(|number| hashtags(&post(number))) {
        *truth.entry(tag).or_default() += 1;
    }
    let (counted, truth) = (ranked(counted.events()), ranked(truth));
    println!("rank  hashtag  counted  truth");
    for (rank, ((tag, counted), (_, truth))) in counted.iter().zip(&truth).take(5).enumerate() {
        println!("{:4}  {tag:7}  {counted:7}  {truth:5}", rank + 1);
    }
    let same = counted.iter().zip(&truth).all(|((counted, _), (truth, _))| counted == truth);
    let lost = report.metrics.total(|m| m.dropped);
    println!("{POSTS} posts, {lost} lost, the order is right: {same}");
    Ok(())
}
