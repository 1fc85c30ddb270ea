//! `gipam config check FILE`, `show`, `keys` and `metrics`: the configuration, without a daemon.
//!
//! Promises: `check` says what the daemon would say about this file alone; `show` prints every setting as the daemon
//! would resolve it here, and where it comes from; `keys` and `metrics` are the references. None opens books or sockets.

use serde_json::{Value, json};

use super::args::Configuration;
use super::error::Error;
use super::output;
use super::tables::{Width, table};
use crate::config::{self, Config, Options, Surroundings};

/// Runs one of them.
pub(super) fn run(
    command: &Configuration,
    flags: &Options,
    json: bool,
    surroundings: &Surroundings,
) -> Result<(), Error> {
    match command {
        Configuration::Check { document: file } => {
            let config = config::check_file(file, surroundings).map_err(Error::Configuration)?;
            config.warnings.iter().for_each(|warning| output::note(warning));
            let names: Vec<&str> = config.drivers.iter().map(|driver| driver.name.as_str()).collect();
            let pools: Vec<&str> = config.settings.pools.iter().map(|pool| pool.name.as_str()).collect();
            let pools = if pools.is_empty() { "none".to_owned() } else { pools.join(", ") };
            output::text(&format!("{file} is good (drivers: {}; pools: {pools})\n", names.join(", ")))
        }
        Configuration::Keys => output::text(&config::keys::page()),
        Configuration::Metrics => output::text(&crate::web::table::page()),
        Configuration::Show => {
            let config = Config::outline(flags, surroundings).map_err(Error::Configuration)?;
            config.warnings.iter().for_each(|warning| output::note(warning));
            if json {
                let row = |row: &config::Shown| json!({"key": row.key, "value": row.value, "origin": row.origin.to_string()});
                return output::text(&output::json_text(&Value::Array(
                    config.shown.iter().map(row).collect(),
                )));
            }
            let row = |row: &config::Shown| vec![row.key.clone(), row.value.clone(), row.origin.to_string()];
            output::text(&table(
                Width::of_output(),
                &["KEY", "~VALUE", "ORIGIN"],
                config.shown.iter().map(row),
            ))
        }
    }
}
