//! Runs one piece for so many rounds, for a tool that counts instructions: `instructions PIECE ROUNDS`. Without arguments it says
//! which pieces there are, with how many events in a round each.

mod list;

use list::PIECES;

fn main() {
    // Cargo adds arguments of its own when it runs a bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [name, rounds] = arguments.as_slice() else {
        for piece in PIECES {
            println!("{}\t{}", piece.each, piece.name);
        }
        return;
    };
    let piece = PIECES.iter().find(|piece| piece.name == name).expect("no such piece");
    (piece.run)(rounds.parse().expect("a number of rounds"));
}
