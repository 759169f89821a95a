//! Accounts of ClickHouse. Most of them cannot see or do everything.

use std::fmt::Write as _;

use super::tables::tables;

/// The account that queries ClickHouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    /// It sees all rows and may do everything.
    Full,
    /// A row policy hides a tenth of all rows.
    Policy,
    /// Its profile ends every answer after some rows, without an error.
    Limit,
    /// Its profile filters the tables.
    Filter,
    /// With its profile, a query that exceeds a limit ends early with what it has.
    Break,
    /// Its profile forbids queries that read many rows.
    Narrow,
    /// It may not change settings.
    ReadOnly,
}

impl Account {
    /// All accounts except the full one.
    pub const LIMITED: [Self; 6] =
        [Self::Policy, Self::Limit, Self::Filter, Self::Break, Self::Narrow, Self::ReadOnly];

    /// Its name in ClickHouse.
    pub fn user(self) -> &'static str {
        match self {
            Self::Full => "default",
            Self::Policy => "policy",
            Self::Limit => "limit",
            Self::Filter => "filter",
            Self::Break => "break",
            Self::Narrow => "narrow",
            Self::ReadOnly => "readonly",
        }
    }

    /// The settings of its profile.
    fn settings(self) -> String {
        match self {
            Self::Full | Self::Policy => String::new(),
            Self::Limit => "<limit>300</limit>".to_owned(),
            Self::Filter => {
                let filter = |table| format!("'audit.{table}': '{HIDING}'");
                let filters: Vec<String> = tables().map(filter).collect();
                let filters = filters.join(", ");
                format!("<additional_table_filters>{{{filters}}}</additional_table_filters>")
            }
            Self::Break => "<max_rows_to_read>400</max_rows_to_read>\
                 <read_overflow_mode>break</read_overflow_mode>"
                .to_owned(),
            Self::Narrow => "<max_rows_to_read>400</max_rows_to_read>".to_owned(),
            Self::ReadOnly => "<readonly>1</readonly>".to_owned(),
        }
    }
}

const HIDING: &str = "cityHash64(audit_id) % 10 != 0";

/// The file with all accounts, which ClickHouse reads when it starts.
pub fn users_xml() -> String {
    let mut profiles = "<default/>".to_owned();
    let mut users = "<default><password/><profile>default</profile>\
         <quota>default</quota></default>"
        .to_owned();
    for account in Account::LIMITED {
        let (user, settings) = (account.user(), account.settings());
        let policies = match account {
            Account::Policy => tables().map(|table| policy(&table)).collect::<Vec<_>>().concat(),
            _ => String::new(),
        };
        write!(profiles, "\n<{user}>{settings}</{user}>").unwrap();
        write!(
            users,
            "\n<{user}><password/><profile>{user}</profile><quota>default</quota>\
             <databases><audit>{policies}</audit></databases></{user}>"
        )
        .unwrap();
    }
    format!(
        "<clickhouse>\n<profiles>{profiles}</profiles>\n<quotas><default/></quotas>\n\
         <users>{users}</users>\n</clickhouse>\n"
    )
}

fn policy(table: &str) -> String {
    format!("<{table}><filter>{HIDING}</filter></{table}>")
}
