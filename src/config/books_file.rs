//! Where the books are: at the given path, or next to an old lease file.
//!
//! Promises: R73 is implemented only here: `X.json` means books at `X.db` next to it, whether `X.json` exists or not; the
//! content of an existing file, not its name, decides what it is; without `--file` an old lease file (or the books made
//! from one) in the working directory takes precedence over every other default. Does not open or read files: the caller
//! of [`BooksFile::resolve`] says what they contain. Creates the directory of a default path; the directory of a given
//! path must exist, because a mistyped path would otherwise get new, empty books.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::options::Surroundings;
use super::origin::Origin;

/// What a file contains, as determined by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The file does not exist, or is empty.
    Absent,
    /// An SQLite database.
    Books,
    /// JSON: a lease file of the old gipam.
    OldLeases,
    /// Something else.
    Other,
}

/// The path of the books or of an old lease file, before the content of the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BooksFile {
    /// The path as given or found, absolute.
    pub named: PathBuf,
    /// The path of the books if `named` is an old lease file.
    pub derived: PathBuf,
    /// Where the path was given.
    pub origin: Origin,
}

/// The paths to which a [`BooksFile`] resolves, once the content is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedFile {
    /// The path of the books; they may not exist yet.
    pub books: PathBuf,
    /// The old lease file to take over, or to watch for changes after its takeover; it may not exist.
    pub old: Option<PathBuf>,
}

impl BooksFile {
    /// Creates a `BooksFile` from a path that was given or found.
    pub fn new(named: PathBuf, origin: Origin) -> Self {
        let derived = if is_json(&named) { named.with_extension("db") } else { appended(&named, ".db") };
        Self { named, derived, origin }
    }

    /// Determines the books and the old lease file from the content of the named file.
    pub fn resolve(&self, content: Content) -> ResolvedFile {
        let old = match content {
            Content::Books => false,
            Content::OldLeases => true,
            Content::Absent | Content::Other => is_json(&self.named),
        };
        if old {
            ResolvedFile { books: self.derived.clone(), old: Some(self.named.clone()) }
        } else {
            ResolvedFile { books: self.named.clone(), old: None }
        }
    }

    /// Creates the directory of these books, unless a person chose the path.
    pub fn make_directory(&self, books: &Path) -> std::io::Result<()> {
        match (&self.origin, books.parent()) {
            (Origin::Default | Origin::Variable("STATE_DIRECTORY"), Some(directory)) => {
                std::fs::create_dir_all(directory)
            }
            _ => Ok(()),
        }
    }

    /// The path of books that already exist, for reading only; tries the path derived from an old lease file first.
    pub fn existing(&self) -> Option<&Path> {
        [&self.derived, &self.named].into_iter().find(|path| path.is_file()).map(PathBuf::as_path)
    }
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn appended(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("gipam")).to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Finds the books for these options; `written` is `--file` with its origin. May add a warning.
pub(super) fn find(
    written: Option<(PathBuf, Origin)>,
    surroundings: &Surroundings,
    warnings: &mut Vec<String>,
) -> BooksFile {
    if let Some((path, origin)) = written {
        return BooksFile::new(path, origin);
    }
    if let Some(found) = in_directory(&surroundings.directory, warnings) {
        return BooksFile::new(found, Origin::Found("found in the working directory"));
    }
    let state = surroundings.variables.get("STATE_DIRECTORY").and_then(|list| list.split(':').next());
    let (directory, origin) = match state {
        Some(directory) if !directory.is_empty() => (directory, Origin::Variable("STATE_DIRECTORY")),
        _ if surroundings.root => ("/var/lib/gipam", Origin::Default),
        _ => ("", Origin::Default),
    };
    BooksFile::new(surroundings.absolute(Path::new(directory).join("gipam.db")), origin)
}

/// For commands that only read: if the default books do not exist, a lease file in their directory points to other books.
/// The daemon finds that file because the directory is its working directory.
pub(super) fn beside_default(file: BooksFile) -> BooksFile {
    let directory = file.named.parent().filter(|_| !file.named.is_file());
    match directory.and_then(|directory| in_directory(directory, &mut Vec::new())) {
        Some(found) => BooksFile::new(found, file.origin),
        None => file,
    }
}

/// The old lease file to use in this directory. One from which books were already made is preferred.
fn in_directory(directory: &Path, warnings: &mut Vec<String>) -> Option<PathBuf> {
    let names = ["leases.json", "lease.json"].map(|name| directory.join(name));
    let [with_books, without]: [Vec<&PathBuf>; 2] = [
        names.iter().filter(|name| name.with_extension("db").is_file()).collect(),
        names.iter().filter(|name| name.is_file()).collect(),
    ];
    let candidates = if with_books.is_empty() { without } else { with_books };
    let (first, others) = candidates.split_first()?;
    if let Some(other) = others.first() {
        warnings.push(format!(
            "found both {} and {}; gipam uses the first; to use the other: --file {}",
            first.display(),
            other.display(),
            other.display()
        ));
    }
    Some((*first).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> BooksFile {
        BooksFile::new(path.into(), Origin::Default)
    }

    fn in_directory_with(files: &[&str], root: bool, state: Option<&str>) -> (String, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let variables =
            state.map(|state| ("STATE_DIRECTORY".to_owned(), state.to_owned())).into_iter().collect();
        let surroundings = Surroundings {
            directory: directory.path().to_owned(),
            variables,
            root,
            host_name: String::new(),
            default_configuration: PathBuf::new(),
            authorities: Vec::new(),
        };
        let mut warnings = Vec::new();
        let found = find(None, &surroundings, &mut warnings).named;
        let shown = found.strip_prefix(directory.path()).unwrap_or(&found).display().to_string();
        (shown, warnings)
    }

    #[test]
    fn a_json_name_means_books_next_to_it_whether_it_exists_or_not() {
        for content in [Content::Absent, Content::OldLeases, Content::Other] {
            let books = named("/a/leases.json").resolve(content);
            assert_eq!(
                books,
                ResolvedFile { books: "/a/leases.db".into(), old: Some("/a/leases.json".into()) }
            );
        }
    }

    #[test]
    fn content_decides_what_an_existing_file_is() {
        let odd = named("/a/leases.json").resolve(Content::Books);
        assert_eq!(odd, ResolvedFile { books: "/a/leases.json".into(), old: None });
        let odd = named("/a/state").resolve(Content::OldLeases);
        assert_eq!(odd, ResolvedFile { books: "/a/state.db".into(), old: Some("/a/state".into()) });
        let plain = named("/a/gipam.db").resolve(Content::Absent);
        assert_eq!(plain, ResolvedFile { books: "/a/gipam.db".into(), old: None });
    }

    #[test]
    fn an_old_lease_file_in_the_working_directory_precedes_every_other_default() {
        assert_eq!(in_directory_with(&["lease.json"], true, Some("/s")).0, "lease.json");
        assert_eq!(in_directory_with(&["leases.json"], false, None).0, "leases.json");
    }

    #[test]
    fn books_made_from_an_old_lease_file_are_found_without_it() {
        assert_eq!(in_directory_with(&["leases.db"], true, None).0, "leases.json");
        assert_eq!(in_directory_with(&["lease.db"], true, None).0, "lease.json");
    }

    #[test]
    fn of_two_old_lease_files_the_one_with_books_wins_otherwise_a_warning_names_the_other() {
        let (found, warnings) = in_directory_with(&["leases.json", "lease.json", "lease.db"], true, None);
        assert_eq!((found.as_str(), warnings.len()), ("lease.json", 0));
        let (found, warnings) = in_directory_with(&["leases.json", "lease.json"], true, None);
        assert_eq!((found.as_str(), warnings.len()), ("leases.json", 1));
    }

    #[test]
    fn commands_that_only_read_find_books_made_from_a_lease_file_in_the_state_directory() {
        let directory = tempfile::tempdir().unwrap();
        let default = BooksFile::new(directory.path().join("gipam.db"), Origin::Default);
        assert_eq!(beside_default(default.clone()), default);
        std::fs::write(directory.path().join("lease.db"), "").unwrap();
        let found = beside_default(default.clone());
        assert_eq!(found.existing(), Some(directory.path().join("lease.db").as_path()));
        std::fs::write(directory.path().join("gipam.db"), "").unwrap();
        assert_eq!(beside_default(default.clone()), default);
    }

    #[test]
    fn the_other_defaults_are_the_state_directory_then_var_lib_then_the_working_directory() {
        assert_eq!(in_directory_with(&[], true, Some("/s:/t")).0, "/s/gipam.db");
        assert_eq!(in_directory_with(&[], true, None).0, "/var/lib/gipam/gipam.db");
        assert_eq!(in_directory_with(&[], false, None).0, "gipam.db");
    }
}
