//! `gipam import`: lease files of the old gipam, tables, and the output of `docker network inspect`.
//!
//! Promises: the kind of a file is detected from its content; for a table and for networks, the command only reports what
//! it would do, unless `--apply` is given. The daemon decides what is allowed.

use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::path::Path;

use clap::Args;
use serde_json::json;

use super::actions;
use super::error::CliError;
use super::output::Asking;
use super::tables::{Width, escaped, table};
use crate::admin::listed::{Form, ImportAnswer, Row, form};
use crate::config::Surroundings;
use crate::text::counted;

/// What to import into the books.
#[derive(Clone, Debug, Args)]
#[command(after_help = IMPORT)]
pub(super) struct ImportArgs {
    /// the file; - is standard input
    #[arg(value_name = "FILE")]
    pub(super) list: std::path::PathBuf,
    /// apply the import; without this, only print what would be done (a lease file is imported at once)
    #[arg(long)]
    pub(super) apply: bool,
    /// refuse a file that is not the output of docker network inspect
    #[arg(long)]
    pub(super) inspect: bool,
    /// import a lease file even if the books are not empty, and replace them
    #[arg(long)]
    pub(super) replace: bool,
}

/// The help text about the kinds of files.
const IMPORT: &str = "\
gipam recognizes a file by its content:
  the output of docker network inspect
      docker network inspect $(docker network ls -q) | gipam import --inspect -
      Networks of this driver that the books lack are adopted, with their range, gateway and live addresses, as
      gipam gc --apply does, which asks the Engine itself. A network of another IPAM driver stays with that
      driver and is not imported; after gipam reserve, its addresses are never given dynamically.
  a table (CSV) whose first line names the columns, in any order:
      subnet, pool_id, range, address, kind, holder, mac
      Only the column subnet is required. A subnet has one line for each of its addresses. Kinds are gateway, auxiliary,
      endpoint, unknown. The table is imported whole or not at all. Lines already in the books have no effect.
  a lease file of the old gipam: imported at once, if the books are empty or with --replace";

/// `gipam import FILE|- [--apply]`.
pub(super) fn import(
    asking: &Asking,
    wanted: &ImportArgs,
    surroundings: &Surroundings,
) -> Result<(), CliError> {
    let (name, content) = content(asking, &wanted.list, surroundings)?;
    let form = form(&content);
    if wanted.inspect && form != Form::Inspected {
        let text = format!("{name} is not the output of docker network inspect, which begins with [");
        return Err(CliError::Usage(text));
    }
    match form {
        Form::OldLeases => actions::import(asking, &name, &content, wanted.replace),
        Form::Inspected | Form::Table if wanted.replace => {
            let text =
                "--replace works only with a lease file of the old gipam; a list is added to the books";
            Err(CliError::Usage(text.to_owned()))
        }
        Form::Inspected | Form::Table => take(asking, &name, &content, wanted.apply),
    }
}

/// The content of a file or of standard input, and its name.
fn content(asking: &Asking, file: &Path, surroundings: &Surroundings) -> Result<(String, String), CliError> {
    let typed = file.to_str() == Some("-");
    let path = if typed { Path::new("standard input").to_owned() } else { surroundings.directory.join(file) };
    let name = path.to_string_lossy().into_owned();
    // Show no progress line while a person types the list.
    let progress = asking.work_unless(typed && std::io::stdin().is_terminal(), format!("opening {name}"));
    let read = || {
        let mut content = String::new();
        if typed {
            progress.reading(&name, std::io::stdin(), None).read_to_string(&mut content)?;
        } else {
            let file = File::open(&path)?;
            let of = file.metadata().ok().filter(Metadata::is_file).map(|file| file.len());
            progress.reading(&name, file, of).read_to_string(&mut content)?;
        }
        Ok(content)
    };
    let content = read().map_err(|source| CliError::Read { path, source })?;
    drop(progress);
    Ok((name, content))
}

fn take(asking: &Asking, name: &str, content: &str, apply: bool) -> Result<(), CliError> {
    let body = json!({"name": name, "content": content, "apply": apply});
    actions::done(asking, "/v1/listed", &body, |answer| told(asking.width, &answer))
}

/// What happens to each subnet, followed by what a person can do, each piece of advice once.
fn told(width: Width, answer: &ImportAnswer) -> String {
    let row = |row: &Row| {
        let follows = match (row.action.as_str(), answer.applied) {
            ("adopt", true) => "adopted".to_owned(),
            ("adopt", false) => "would be adopted".to_owned(),
            ("complete", true) => "completed".to_owned(),
            ("complete", false) => "would be completed".to_owned(),
            ("known", _) => "unchanged: already in the books".to_owned(),
            (action, _) => action.to_owned(),
        };
        // Every action may have a reason: that two containers have the same address is always reported.
        let follows = match row.why.as_deref() {
            Some(why) => format!("{follows}: {why}"),
            None => follows,
        };
        let (new, known) = (row.addresses.len().to_string(), row.known.to_string());
        vec![row.place.clone(), row.subnet.clone(), new, known, follows]
    };
    let headings = ["WHERE", "SUBNET", ">NEW ADDRESSES", ">KNOWN", "~WHAT FOLLOWS"];
    let mut text = table(width, &headings, answer.rows.iter().map(row));
    for said in actions::once(answer.rows.iter().map(|row| &row.advice)) {
        text.push_str(&format!("{}\n", escaped(&said)));
    }
    let all = format!("{} and {}", counted(answer.subnets, "subnet"), counted(answer.leases, "address"));
    let taken = |row: &Row| matches!(row.action.as_str(), "adopt" | "complete");
    let last = match (answer.applied, answer.rows.iter().any(taken)) {
        (_, false) => "nothing to import".to_owned(),
        (true, _) => format!("{all} were added to the books"),
        (false, _) => format!("nothing was changed; --apply adds {all} to the books"),
    };
    text + &last + "\n"
}
