//! How much room `gipam status` and `gipam top` have, and how they share it out.
//!
//! Promises: 24 lines of 80 columns on a pipe; what a larger terminal has more goes to names, prefixes, bars and further
//! rows. Draws nothing.

/// The lines of a normal terminal, and its columns.
pub(super) const LINES: usize = 24;
pub(super) const COLUMNS: usize = 80;

/// Signs of a bar, letters of a name and of a prefix, in 80 columns.
const BAR: usize = 16;
pub(super) const NAME: usize = 12;
const PREFIX: usize = 24;

/// Columns and lines to draw in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Frame {
    /// What a pipe gets.
    pub(super) const NORMAL: Self = Self { columns: COLUMNS, lines: LINES };

    /// Of a terminal of this size, or of a pipe. A short terminal scrolls.
    pub(super) fn of(size: Option<(usize, usize)>) -> Self {
        size.map_or(Self::NORMAL, |(columns, lines)| Self {
            columns,
            lines: lines.saturating_sub(1).max(LINES),
        })
    }

    /// A share of the columns beyond 80, up to this many.
    fn wider(self, most: usize) -> usize {
        (self.columns.saturating_sub(COLUMNS) / 3).min(most)
    }

    pub(super) fn name(self) -> usize {
        NAME + self.wider(28)
    }

    pub(super) fn prefix(self) -> usize {
        PREFIX + self.wider(20)
    }

    pub(super) fn bar(self) -> usize {
        BAR + self.wider(24)
    }

    /// Entries of a part that has this many in 24 lines.
    pub(super) fn taller(self, entries: usize) -> usize {
        entries + self.lines.saturating_sub(LINES) / 3
    }
}
