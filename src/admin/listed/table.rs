//! Reads a table as spreadsheets save it: the first line names the columns, in any order.
//!
//! Promises: accepts commas, semicolons or tabs, and quotes as in RFC 4180; an error names its line and column, and refuses
//! the whole table. A subnet has one line for each of its addresses, or one line without an address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::File;
use crate::docker::wire::tidy_name;
use crate::plan::change::Kind;
use crate::plan::listed::ListedSubnet;
use crate::plan::prefix::{Prefix, number};
use crate::plan::request::{Adoption, Fence, Mac, ShownLease};
use crate::text::counted;

/// The columns; only the first is required.
const COLUMNS: [&str; 7] = ["subnet", "pool_id", "range", "address", "kind", "holder", "mac"];

/// The evidence that the history records.
const LISTED: &str = "import: a table lists it";

/// A line of the table: its number, and its fields.
type TableLine = (usize, Vec<String>);

pub(super) fn read(content: &str) -> Result<File, String> {
    let mut lines = split(content)?.into_iter();
    let (at, names) =
        lines.next().ok_or("line 1: the file is empty; its first line must name the columns")?;
    let columns = columns(at, &names)?;
    let mut listed: Vec<ListedSubnet> = Vec::new();
    for (at, fields) in lines {
        if fields.len() != names.len() {
            return Err(format!(
                "line {at}: {}, but the first line names {}",
                counted(fields.len(), "field"),
                counted(names.len(), "column")
            ));
        }
        let row = Fields { at, columns: &columns, fields: &fields };
        let subnet = row.subnet(&mut listed)?;
        if let Some(lease) = row.lease(subnet.network.prefix)? {
            if let Some(first) = subnet.places.insert(lease.address, format!("line {at}")) {
                let text = format!(
                    "duplicate address {}, already on {first}",
                    row.text("address").unwrap_or_default()
                );
                return Err(row.wrong("address", &text));
            }
            subnet.network.leases.push(lease);
        }
    }
    Ok(File { listed, whole: true, ..File::default() })
}

/// The position of each column.
fn columns(at: usize, names: &[String]) -> Result<BTreeMap<&'static str, usize>, String> {
    let mut columns = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        let wanted = name.trim().to_ascii_lowercase();
        let known = COLUMNS.into_iter().find(|column| *column == wanted).ok_or_else(|| {
            format!(
                "line {at}, column {}: unknown column {name:?}; the columns are {}",
                n + 1,
                COLUMNS.join(", ")
            )
        })?;
        if columns.insert(known, n).is_some() {
            return Err(format!("line {at}, column {}: duplicate column {known}", n + 1));
        }
    }
    if !columns.contains_key("subnet") {
        return Err(format!("line {at}: column subnet is missing; the columns are {}", COLUMNS.join(", ")));
    }
    Ok(columns)
}

/// One line with the names of its columns.
struct Fields<'a> {
    at: usize,
    columns: &'a BTreeMap<&'static str, usize>,
    fields: &'a [String],
}

impl Fields<'_> {
    fn text(&self, column: &str) -> Option<&str> {
        let text = self.fields.get(*self.columns.get(column)?)?.trim();
        Some(text).filter(|text| !text.is_empty())
    }

    fn wrong(&self, column: &str, what: &str) -> String {
        let number = self.columns.get(column).map_or(0, |n| n + 1);
        format!("line {}, column {number} ({column}): {what}", self.at)
    }

    fn prefix(&self, column: &str) -> Result<Option<Prefix>, String> {
        let Some(text) = self.text(column) else { return Ok(None) };
        let wrong = || self.wrong(column, &format!("{text:?} is not a prefix; write it like 192.0.2.0/24"));
        let prefix = Prefix::parse(text).ok_or_else(wrong)?;
        let first = text.split('/').next().and_then(|first| first.parse::<IpAddr>().ok());
        if first.map(number) != Some(prefix.first()) {
            return Err(self.wrong(column, &format!("{text} has host bits set; write {prefix}")));
        }
        Ok(Some(prefix))
    }

    /// The subnet of this line: one from an earlier line, or a new one.
    fn subnet<'l>(&self, listed: &'l mut Vec<ListedSubnet>) -> Result<&'l mut ListedSubnet, String> {
        let prefix = self.prefix("subnet")?.ok_or_else(|| self.wrong("subnet", "subnet is empty"))?;
        let (id, range) = (self.text("pool_id").map(str::to_owned), self.prefix("range")?);
        if let Some(range) = range.filter(|range| !prefix.contains(*range)) {
            return Err(self.wrong("range", &format!("{range} does not lie in {prefix}")));
        }
        let known = listed.iter().position(|subnet| subnet.network.prefix == prefix);
        let Some(known) = known else {
            let network = Adoption {
                prefix,
                range,
                id,
                options: BTreeMap::new(),
                leases: Vec::new(),
                read: Fence { generation: 0, at: 0 },
                evidence: LISTED.into(),
            };
            let place = format!("line {}", self.at);
            listed.push(ListedSubnet { place, places: BTreeMap::new(), shown: false, network });
            return listed.last_mut().ok_or_else(String::new);
        };
        let subnet = listed.get_mut(known).ok_or_else(String::new)?;
        let network = &mut subnet.network;
        if id.is_some() && network.id.is_some() && id != network.id {
            return Err(self.wrong("pool_id", &format!("{} has a different PoolID", subnet.place)));
        }
        if range.is_some() && network.range.is_some() && range != network.range {
            return Err(self.wrong("range", &format!("{} has a different range", subnet.place)));
        }
        network.id = network.id.take().or(id);
        network.range = network.range.or(range);
        Ok(subnet)
    }

    /// The lease of this line, if it names an address.
    fn lease(&self, prefix: Prefix) -> Result<Option<ShownLease>, String> {
        let Some(text) = self.text("address") else {
            let alone = ["kind", "holder", "mac"].into_iter().find(|column| self.text(column).is_some());
            return alone.map_or(Ok(None), |column| {
                Err(self.wrong(column, "this column needs an address on the same line"))
            });
        };
        let bare = text.strip_suffix(&format!("/{}", prefix.length())).unwrap_or(text);
        let address: IpAddr =
            bare.parse().map_err(|_| self.wrong("address", &format!("{text:?} is not an IP address")))?;
        if !prefix.contains_address(address) {
            return Err(self.wrong("address", &format!("{address} does not lie in {prefix}")));
        }
        let kind = self.text("kind").map(str::to_ascii_lowercase).filter(|kind| kind != "unknown");
        let kind = Kind::parse(kind.as_deref())
            .ok_or_else(|| self.wrong("kind", "the kind must be gateway, auxiliary, endpoint or unknown"))?;
        let mac = self.text("mac").map(|text| {
            Mac::parse(text).ok_or_else(|| self.wrong("mac", &format!("{text:?} is not a MAC address")))
        });
        Ok(Some(ShownLease {
            address: number(address),
            kind,
            name: self.text("holder").and_then(tidy_name),
            mac: mac.transpose()?,
            evidence: LISTED.into(),
        }))
    }
}

/// The non-empty lines, each with its number and its fields.
fn split(content: &str) -> Result<Vec<TableLine>, String> {
    let content = content.trim_start_matches('\u{feff}');
    let head = content.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let separator = [',', ';', '\t'].into_iter().find(|sign| head.contains(*sign)).unwrap_or(',');
    let (mut lines, mut fields, mut field) = (Vec::new(), Vec::new(), String::new());
    // The current line, the line on which the current record began, and the line of the open quote, if any.
    let (mut at, mut began, mut open) = (1, 1, None);
    let mut letters = content.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if open.is_some() && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if open.is_some() => open = None,
            '"' if field.trim().is_empty() => (open, field) = (Some(at), String::new()),
            '\n' if open.is_none() => {
                fields.push(std::mem::take(&mut field));
                lines.push((began, std::mem::take(&mut fields)));
                (at, began) = (at + 1, at + 1);
            }
            '\r' if open.is_none() && letters.peek() == Some(&'\n') => {}
            sign if sign == separator && open.is_none() => fields.push(std::mem::take(&mut field)),
            other => {
                at += usize::from(other == '\n');
                field.push(other);
            }
        }
    }
    if let Some(line) = open {
        return Err(format!("line {line}, column {}: unclosed quote", fields.len() + 1));
    }
    fields.push(field);
    lines.push((began, fields));
    lines.retain(|(_, fields)| fields.iter().any(|field| !field.trim().is_empty()));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(field: &str) -> String {
        format!("\"{}\"", field.replace('"', "\"\""))
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n\r\t\u{feff}é,;\"]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn quoted_fields_are_read_unchanged(
            rows in prop::collection::vec(prop::collection::vec("[a-z,;\"\n ]{0,8}[a-z]", 3), 1..6),
            ends in prop::bool::ANY,
        ) {
            let end = if ends { "\r\n" } else { "\n" };
            let line = |row: &Vec<String>| row.iter().map(|field| quoted(field)).collect::<Vec<_>>().join(",") + end;
            // The first line determines the separator.
            let text = format!("a,b,c{end}") + &rows.iter().map(line).collect::<String>();
            let lines = split(&text).unwrap();
            let fields: Vec<Vec<String>> = lines.iter().skip(1).map(|(_, fields)| fields.clone()).collect();
            prop_assert_eq!(fields, rows);
        }
    }

    #[test]
    fn lines_are_counted_correctly_if_a_field_spans_several() {
        let lines = split("a,b\n\"1\n2\",x\n\ny,z").unwrap();
        let numbers: Vec<usize> = lines.iter().map(|(at, _)| *at).collect();
        assert_eq!(numbers, [1, 2, 5]);
    }
}
