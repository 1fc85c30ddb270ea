//! What a view answers, as JSON: a value, or rows one a line, handed over piece by piece.
//!
//! Promises: however many rows there are, little more than one piece is in memory. Knows no HTTP.

use serde::Serialize;

use super::{ErrorKind, Refusal};

/// A piece is handed over when it is longer than this.
const PIECE: usize = 64 << 10;

/// Takes an answer. `hand_over` takes a full piece, and waits until there is room for more.
pub struct Sink<'a> {
    piece: Vec<u8>,
    rows: u64,
    hand_over: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Refusal>,
}

impl<'a> Sink<'a> {
    /// Hands pieces over to this.
    pub fn new(hand_over: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Refusal>) -> Self {
        Self { piece: Vec::new(), rows: 0, hand_over }
    }

    /// A whole answer.
    pub fn value(&mut self, value: &impl Serialize) -> Result<(), Refusal> {
        serde_json::to_writer(&mut self.piece, value)
            .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }

    /// The next row of a list.
    pub fn row(&mut self, row: &impl Serialize) -> Result<(), Refusal> {
        self.piece.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
        self.rows += 1;
        self.value(row)?;
        if self.piece.len() > PIECE {
            (self.hand_over)(std::mem::take(&mut self.piece))?;
        }
        Ok(())
    }

    /// The end of a list.
    pub fn end(&mut self) -> Result<(), Refusal> {
        self.piece.extend_from_slice(if self.rows == 0 { b"[]" } else { b"\n]" });
        Ok(())
    }

    /// A list that is known.
    pub fn rows<T: Serialize>(&mut self, rows: &[T]) -> Result<(), Refusal> {
        rows.iter().try_for_each(|row| self.row(row))?;
        self.end()
    }

    /// What was not handed over: the last piece, or the whole answer.
    pub fn rest(self) -> Vec<u8> {
        self.piece
    }
}
