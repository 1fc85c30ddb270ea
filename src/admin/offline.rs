//! Answers views from the books when no daemon answers.
//!
//! Promises: the same answers as the daemon's; views do not change the books. `import` and `restore` take the
//! lock of the books; `export` records the digest of the exported file, if it can.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::import;
use crate::claims::HostsPlan;
use crate::claims::books::{CLAIMS, HOSTS, read_rows};
use crate::claims::division::Division;
use crate::clock;
use crate::config::{BooksFile, Content, PlanSource, PoolsOrigin};
use crate::ledger::Altered;
use crate::plan::error::{ErrorKind, Refusal};
use crate::plan::settings::Settings;
use crate::store::old_gipam::{self, FileKind};
use crate::store::{self, Books};
use crate::view::sink::Sink;
use crate::view::views::View;

pub use crate::store::backup::BackupStep;

/// How many leading bytes are enough to recognize a database.
const HEAD: u64 = 16;

/// Answers `GET path_and_query` from the books and the plan file. `hand_over` receives all pieces of a long
/// answer except the last.
pub fn answer(
    books: &Path,
    plan: Option<&PlanSource>,
    path_and_query: &str,
    hand_over: &mut dyn FnMut(Vec<u8>) -> Result<(), Refusal>,
) -> Result<Vec<u8>, Refusal> {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let view = View::open(books, clock::now())?;
    let known = plan.map(|source| known_hosts(&view, source)).transpose()?;
    let view = view.among(known.map(Arc::new));
    if path == "/v1/export" {
        import::check_format(query)?;
        let bytes = import::export(view.source())?;
        if let Err(error) = note_export(books, &bytes) {
            tracing::warn!(
                "cannot record the export in the books, so the next start will not recognize this file: {error}"
            );
        }
        return Ok(bytes);
    }
    let mut sink = Sink::new(hand_over);
    view.answer(path, query, &mut sink)?;
    Ok(sink.rest())
}

/// What the plan file says now, or what the books know of a plan in etcd.
fn known_hosts(view: &View, source: &PlanSource) -> Result<HostsPlan, Refusal> {
    let source = source.clone();
    let Some(file) = source.file().map(|path| Division::read(path)) else {
        let rows = [CLAIMS, HOSTS].map(|row| view.reader()?.meta(row).map_err(Refusal::from));
        let [claims, hosts] = rows;
        let (claims, hosts) = (claims?, hosts?);
        let known = read_rows(claims.as_deref(), hosts.as_deref());
        let (id, books) = known.map_err(|text| Refusal::new(ErrorKind::Failed, text))?;
        return view.source().look(move |plan| HostsPlan::from_books(&source, &id, &books, plan));
    };
    view.source().look(move |plan| HostsPlan::at_start(&source, file, plan.settings()))
}

/// Stores the digest of the exported file in the books.
fn note_export(books: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let mut books = Books::open(books)?;
    books.put_meta(import::EXPORTED_DIGEST, &old_gipam::digest(bytes))?;
    books.commit()?;
    Ok(books.close()?)
}

/// Writes a copy of the books to a new file, even while a daemon runs. Returns a summary as JSON.
pub fn backup(books: &Path, copy: &Path, tell: &dyn Fn(BackupStep<'_>)) -> Result<Vec<u8>, Refusal> {
    let bytes = store::backup::backup(books, copy, tell)?;
    let done = serde_json::json!({"books": books, "backup": copy, "bytes": bytes});
    Ok(done.to_string().into_bytes())
}

/// Replaces the books with a copy that `backup` wrote, while no daemon runs. Returns a summary as JSON.
pub fn restore(copy: &Path, file: &BooksFile, tell: &dyn Fn(BackupStep<'_>)) -> Result<Vec<u8>, Refusal> {
    let books = place(file)?;
    let done = store::restore::restore(copy, &books, tell)?;
    let mut done = serde_json::json!({"restored": copy, "books": done.books, "subnets": done.subnets,
        "leases": done.leases, "replaced_books": done.kept, "note": done.note});
    if let Some(done) = done.as_object_mut().filter(|done| done["note"].is_null()) {
        done.remove("note");
    }
    Ok(done.to_string().into_bytes())
}

/// What a file contains, and its bytes unless it is a database, which may be large.
pub fn content(path: &Path) -> io::Result<(Content, Vec<u8>)> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Content::Absent, Vec::new())),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut bytes)?;
    if old_gipam::detect(&bytes) == FileKind::Sqlite {
        return Ok((Content::Books, Vec::new()));
    }
    file.read_to_end(&mut bytes)?;
    let content = match old_gipam::detect(&bytes) {
        FileKind::Json => Content::OldLeases,
        FileKind::Sqlite => Content::Books,
        FileKind::Empty => Content::Absent,
        FileKind::Other => Content::Other,
    };
    Ok((content, bytes))
}

/// The path of the books that a command changes without a daemon. As at a start, the content of the named
/// file decides. Creates the directory of a default path.
pub fn place(file: &BooksFile) -> Result<PathBuf, Refusal> {
    // A file that cannot be read is refused when it is opened as books.
    let (content, _) = content(&file.named).unwrap_or((Content::Absent, Vec::new()));
    let books = match content {
        Content::Absent if file.derived.is_file() => file.derived.clone(),
        content => file.resolve(content).books,
    };
    file.make_directory(&books).map_err(|error| {
        Refusal::new(
            ErrorKind::Failed,
            format!("cannot create the directory of {}: {error}", books.display()),
        )
    })?;
    Ok(books)
}

/// Imports a lease file into the books.
pub fn import(file: &BooksFile, name: &str, content: &str, replace: bool) -> Result<Vec<u8>, Refusal> {
    let importing =
        import::Importing::new(name, content, replace, &Settings::default(), &PoolsOrigin::Nowhere)?;
    let summary = importing.summary();
    let mut books = Books::open(&place(file)?)?;
    let mut plan = books.plan()?;
    let Altered { settings, changes, meta } = importing.alter(&plan, clock::now())?;
    for change in &changes {
        books.write(&plan, change)?;
        plan.apply(change);
    }
    books.write_counters(&plan)?;
    if let Some(settings) = settings {
        books.put_settings(&settings)?;
    }
    for (key, value) in meta {
        books.put_meta(&key, &value)?;
    }
    books.commit()?;
    books.close()?;
    Ok(summary.to_string().into_bytes())
}
