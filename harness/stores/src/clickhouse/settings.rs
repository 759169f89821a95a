//! Makes the settings of an account hide no rows from it, as far as it may change them.

use clickhouse::error::Error;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::fault::server_code;
use crate::sight::{ALWAYS, SETTINGS, Setting, Values, to_send};

/// Returns a client that sends harmless values of all settings that its account may set.
///
/// # Errors
///
/// Returns the client's error if the server does not answer.
pub(crate) async fn with_harmless_settings(client: Client) -> Result<Client, Error> {
    let always = SETTINGS.into_iter().filter(|it| ALWAYS.contains(&it.name)).collect();
    let client = with_all(client, always).await?;
    let values = read_values(&client).await?;
    let needed = to_send(&values).into_iter().filter(|it| !ALWAYS.contains(&it.name)).collect();
    with_all(client, needed).await
}

/// Sends settings with every query from now on, except those that the server does not accept.
async fn with_all(client: Client, settings: Vec<Setting>) -> Result<Client, Error> {
    if settings.is_empty() {
        return Ok(client);
    }
    let all = |client: Client, some: &[Setting]| {
        some.iter().fold(client, |client, it| client.with_setting(it.name, it.harmless))
    };
    let together = all(client.clone(), &settings);
    match probe(&together).await {
        Err(error) if is_refusal(&error) => {}
        answer => return answer.map(|()| together),
    }
    let mut taken = client;
    for setting in settings {
        let with_it = all(taken.clone(), &[setting]);
        match probe(&with_it).await {
            Ok(()) => taken = with_it,
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

pub(crate) async fn probe(client: &Client) -> Result<(), Error> {
    client.query_raw("SELECT 1").fetch_one::<u8>().await.map(drop)
}

/// Whether the server does not accept a setting.
///
/// Source: `ClickHouse`, `src/Common/ErrorCodes.cpp`: `UNKNOWN_SETTING`, `READONLY`,
/// `SETTING_CONSTRAINT_VIOLATION`.
pub(crate) fn is_refusal(error: &Error) -> bool {
    matches!(server_code(error), Some(UNKNOWN_SETTING | 164 | 452))
}

pub(crate) const UNKNOWN_SETTING: u32 = 115;

#[derive(Debug, Row, Deserialize)]
struct ValuesRow {
    names: Vec<String>,
    texts: Vec<String>,
}

/// This reads only one row, so a limit on rows cannot cut it.
pub(crate) async fn read_values(client: &Client) -> Result<Values, Error> {
    let names: Vec<_> = SETTINGS.iter().map(|it| format!("'{}'", it.name)).collect();
    let sql = format!(
        "SELECT groupArray(name) AS names, groupArray(value) AS texts FROM system.settings \
         WHERE name IN ({})",
        names.join(", ")
    );
    let row: Option<ValuesRow> = client.query_raw(&sql).fetch_optional().await?;
    let ValuesRow { names, texts } = row.unwrap_or(ValuesRow { names: vec![], texts: vec![] });
    Ok(names.into_iter().zip(texts).collect())
}
