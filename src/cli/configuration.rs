//! `gipam config check FILE`, `show`, `keys` and `metrics`: the configuration.
//!
//! Promises: `check` reports what the daemon would report for this file alone; `show` prints every setting and its origin,
//! from the daemon if one answers, otherwise as resolved here; `keys` and `metrics` print the reference pages.

use super::args::Configuration;
use super::error::CliError;
use super::output::{self, Asking};
use super::tables::table;
use crate::config::{self, Config, Options, Surroundings};
use crate::view::rows::SettingRow;

/// Runs one of these commands.
pub(super) fn run(
    command: &Configuration,
    flags: &Options,
    json: bool,
    surroundings: &Surroundings,
) -> Result<(), CliError> {
    match command {
        Configuration::Check { document: file } => {
            let config = config::check_file(file, surroundings).map_err(CliError::Configuration)?;
            config.warnings.iter().for_each(|warning| output::note(warning));
            let names: Vec<&str> = config.drivers.iter().map(|driver| driver.name.as_str()).collect();
            let pools: Vec<&str> = config.settings.pools.iter().map(|pool| pool.name.as_str()).collect();
            let pools = if pools.is_empty() { "none".to_owned() } else { pools.join(", ") };
            output::text(&format!("{file} is valid (drivers: {}; pools: {pools})\n", names.join(", ")))
        }
        Configuration::Keys => output::text(&config::keys_page::page()),
        Configuration::Metrics => output::text(&crate::web::table::page()),
        Configuration::Show => show(flags, json, surroundings),
    }
}

/// Prints the settings of the running daemon, otherwise those that `gipam serve` would start with; a note says which.
fn show(flags: &Options, json: bool, surroundings: &Surroundings) -> Result<(), CliError> {
    let asked_of_daemon = Options {
        v4: flags.v4.clone(),
        v4ab: flags.v4ab.clone(),
        v6: flags.v6.clone(),
        v6ab: flags.v6ab.clone(),
        ..Options::default()
    } == Options::default();
    let asking = Asking::new(flags, json, surroundings)?;
    let answer = if asked_of_daemon { asking.daemon_view("/v1/config").ok() } else { None };
    let rows: Vec<SettingRow> = match answer {
        Some(answer) => {
            output::note("these are the settings of the running driver");
            output::read("/v1/config", &answer)?
        }
        None => {
            let config = Config::outline(flags, surroundings).map_err(CliError::Configuration)?;
            config.warnings.iter().for_each(|warning| output::note(warning));
            output::note("no driver is running; these are the settings that gipam serve would start with");
            config.shown.iter().map(SettingRow::from).collect()
        }
    };
    if json {
        let value = serde_json::to_value(&rows).unwrap_or_default();
        return output::text(&output::json_text(&value));
    }
    let row = |row: SettingRow| vec![row.key, row.value, row.origin];
    output::text(&table(asking.width, &["KEY", "~VALUE", "ORIGIN"], rows.into_iter().map(row)))
}
