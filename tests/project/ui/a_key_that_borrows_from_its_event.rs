use streamwork::Job;

#[derive(Clone)]
struct Sale {
    shop: String,
}

fn main() {
    let job = Job::new("keys");
    let sales = job.from_iter("sales", || [Sale { shop: "corner".to_owned() }]);
    sales.key_by(|sale| &sale.shop).for_each(|_| ());
}
