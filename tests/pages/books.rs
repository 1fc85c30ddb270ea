//! docs/books.md: its statements run against real books, and its tables match the schema.
//!
//! The statements run in SQLite itself, not in the `sqlite3` shell, which a machine may lack.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::daemon::House;

const PAGE: &str = include_str!("../../docs/books.md");

/// What the `sqlite3` shell prints for a statement on these books: columns separated by bars.
pub fn shell(books: &Path, statement: &str) -> String {
    let connection = Connection::open_with_flags(books, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut prepared = connection.prepare(statement).unwrap();
    let columns = prepared.column_count();
    let text = |value: ValueRef<'_>| match value {
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        ValueRef::Null => String::new(),
        other => panic!("{other:?}"),
    };
    let rows = prepared.query_map([], |row| {
        let cells: Vec<String> = (0..columns).map(|at| text(row.get_ref(at).unwrap())).collect();
        Ok(cells.join("|") + "\n")
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_page_of_the_books_names_every_table_and_column_of_the_schema() {
    let house = House::with_toml("[[pool]]\nname = \"lan\"\nv4 = \"198.51.100.0/24\"\n");
    drop(house.start());
    let books = house.path("gipam.db");
    let names = shell(
        &books,
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'",
    );
    let columns = |name: &str| shell(&books, &format!("SELECT name FROM pragma_table_info('{name}')"));
    let schema: BTreeMap<String, Vec<String>> = names
        .lines()
        .map(|name| (name.to_owned(), columns(name).lines().map(str::to_owned).collect()))
        .collect();
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
    let shown: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let (name, rest) = row.split_once('`').unwrap();
            let listed = rest.split_once(" | ").unwrap().1.split([':', '|']).next().unwrap();
            (name.to_owned(), listed.split('`').skip(1).step_by(2).map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(shown, schema);
    let version = shell(&books, "PRAGMA user_version");
    assert!(PAGE.contains(&format!("`PRAGMA user_version` is {}.", version.trim())), "{version}");
}

#[test]
fn the_page_of_the_books_shows_what_is_in_them() {
    crate::type_page(PAGE, 7);
}
