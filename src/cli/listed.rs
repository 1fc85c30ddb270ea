//! `gipam import`: lease files of the old gipam, tables, and the output of `docker network inspect`.
//!
//! Promises: the content decides what a file is; of a table and of networks it is only said what would be done, unless
//! `--apply` is there. What is allowed is the daemon's decision.

use std::fs::{File, Metadata};
use std::io::{IsTerminal, Read};
use std::path::Path;

use serde_json::json;

use super::actions;
use super::change_args::ImportArgs;
use super::error::CliError;
use super::output::{self, Asking};
use super::tables::{Width, escaped, table};
use crate::admin::listed::{Form, ImportAnswer, Row, form};
use crate::config::Surroundings;
use crate::text::counted;

/// `gipam import FILE|- [--apply]`.
pub(super) fn import(
    asking: &Asking,
    wanted: &ImportArgs,
    surroundings: &Surroundings,
) -> Result<(), CliError> {
    let (name, content) = content(asking, &wanted.list, surroundings)?;
    let form = form(&content);
    if wanted.inspect && form != Form::Inspected {
        let text = format!("{name} is not what docker network inspect prints: that begins with a [");
        return Err(CliError::Usage(text));
    }
    match form {
        Form::OldLeases => actions::import(asking, &name, &content, wanted.replace),
        Form::Inspected | Form::Table if wanted.replace => {
            let text = "--replace belongs to a lease file of the old gipam; nothing is replaced by a list";
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
    // If a person types the list there, the progress line must not appear.
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
    let answer = asking.change("/v1/listed", &body)?;
    if asking.json {
        return output::json("/v1/listed", &answer);
    }
    output::text(&told(asking.width, &output::read("/v1/listed", &answer)?))
}

/// What becomes of each subnet, and under it what a person can do, each advice once.
fn told(width: Width, answer: &ImportAnswer) -> String {
    let row = |row: &Row| {
        let follows = match (row.action.as_str(), answer.applied) {
            ("adopt", true) => "adopted".to_owned(),
            ("adopt", false) => "would be adopted".to_owned(),
            ("complete", true) => "completed".to_owned(),
            ("complete", false) => "would be completed".to_owned(),
            ("known", _) => "nothing: the books know it".to_owned(),
            (action, _) => action.to_owned(),
        };
        // An address that two containers have is always reported.
        let follows = match row.why.as_deref() {
            Some(why) => format!("{follows}: {why}"),
            None => follows,
        };
        let (new, known) = (row.addresses.len().to_string(), row.known.to_string());
        vec![row.place.clone(), row.subnet.clone(), new, known, follows]
    };
    let headings = ["WHERE", "SUBNET", ">NEW ADDRESSES", ">KNOWN", "~WHAT FOLLOWS"];
    let mut text = table(width, &headings, answer.rows.iter().map(row));
    let mut advice: Vec<&str> = Vec::new();
    for said in answer.rows.iter().filter_map(|row| row.advice.as_deref()) {
        if !advice.contains(&said) {
            advice.push(said);
        }
    }
    for said in advice {
        text.push_str(&format!("{}\n", escaped(said)));
    }
    let all = format!("{} and {}", counted(answer.subnets, "subnet"), counted(answer.leases, "address"));
    let taken = |row: &Row| matches!(row.action.as_str(), "adopt" | "complete");
    let last = match (answer.applied, answer.rows.iter().any(taken)) {
        (_, false) => "nothing to import".to_owned(),
        (true, _) => format!("{all} were taken into the books"),
        (false, _) => format!("nothing was changed; --apply takes {all} into the books"),
    };
    text + &last + "\n"
}
