//! How much room `gipam status` and `gipam top` have, and how it is divided.
//!
//! Promises: 24 lines of 80 columns on a pipe; the additional room of a larger terminal goes to names, prefixes, bars and
//! further rows. Draws nothing.

/// The lines and columns of a normal terminal.
pub(super) const LINES: usize = 24;
pub(super) const COLUMNS: usize = 80;

/// Characters of a bar, a name and a prefix at 80 columns.
const BAR: usize = 16;
pub(super) const NAME: usize = 12;
const PREFIX: usize = 24;

/// The columns and lines that are available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) columns: usize,
    pub(super) lines: usize,
}

impl Frame {
    /// The frame for a pipe.
    pub(super) const NORMAL: Self = Self { columns: COLUMNS, lines: LINES };

    /// The frame for a terminal of this size, or for a pipe. A screen taller than the terminal scrolls.
    pub(super) fn of(size: Option<(usize, usize)>) -> Self {
        size.map_or(Self::NORMAL, |(columns, lines)| Self {
            columns,
            lines: lines.saturating_sub(1).max(LINES),
        })
    }

    /// A share of the columns beyond 80, at most this many.
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

    /// The number of entries of a part that has `entries` in 24 lines.
    pub(super) fn taller(self, entries: usize) -> usize {
        entries + self.lines.saturating_sub(LINES) / 3
    }
}
