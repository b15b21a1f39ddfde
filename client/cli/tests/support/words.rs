//! ZooKeeper's four-letter words, as a person with `nc` would ask them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer to a four-letter word; empty if there is none.
pub fn four_letter_word(address: &str, word: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = stream.write_all(word.as_bytes());
        let _ = stream.read_to_string(&mut answer);
    }
    answer
}
