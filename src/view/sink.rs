//! Writes the answer of a view as JSON: a value, or one row per line, handed over piece by piece.
//!
//! Promises: keeps little more than one piece in memory, however many rows there are. Does not know HTTP.

use serde::Serialize;

use super::{ErrorKind, Refusal};

/// A piece is handed over when it is longer than this.
const PIECE: usize = 64 << 10;

/// Collects an answer. `hand_over` receives each full piece, and blocks until there is room for more.
pub struct Sink<'a> {
    piece: Vec<u8>,
    rows: u64,
    hand_over: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Refusal>,
}

impl<'a> Sink<'a> {
    /// Creates a sink that passes full pieces to `hand_over`.
    pub fn new(hand_over: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Refusal>) -> Self {
        Self { piece: Vec::new(), rows: 0, hand_over }
    }

    /// Writes a value that is the whole answer.
    pub fn value(&mut self, value: &impl Serialize) -> Result<(), Refusal> {
        serde_json::to_writer(&mut self.piece, value)
            .map_err(|error| Refusal::new(ErrorKind::Failed, error.to_string()))
    }

    /// Writes the next row of a list.
    pub fn row(&mut self, row: &impl Serialize) -> Result<(), Refusal> {
        self.piece.extend_from_slice(if self.rows == 0 { b"[\n" } else { b",\n" });
        self.rows += 1;
        self.value(row)?;
        if self.piece.len() > PIECE {
            (self.hand_over)(std::mem::take(&mut self.piece))?;
        }
        Ok(())
    }

    /// Ends a list.
    pub fn end(&mut self) -> Result<(), Refusal> {
        self.piece.extend_from_slice(if self.rows == 0 { b"[]" } else { b"\n]" });
        Ok(())
    }

    /// Writes a complete list.
    pub fn rows<T: Serialize>(&mut self, rows: &[T]) -> Result<(), Refusal> {
        rows.iter().try_for_each(|row| self.row(row))?;
        self.end()
    }

    /// The part that has not been handed over: the last piece, or the whole answer.
    pub fn rest(self) -> Vec<u8> {
        self.piece
    }
}
