//! How long each piece takes: `cargo bench --features pieces`.

mod list;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use list::PIECES;

fn all(criterion: &mut Criterion) {
    for piece in PIECES {
        let (group, name) = piece.name.split_once('/').expect("a group and a name");
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(piece.each));
        group.bench_function(name, |bencher| bencher.iter_custom(piece.run));
        group.finish();
    }
}

criterion_group! {
    name = pieces;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30);
    targets = all
}
criterion_main!(pieces);
