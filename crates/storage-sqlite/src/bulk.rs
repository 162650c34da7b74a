//! Statements over many rows: `(VALUES (?, ?), (?, ?), …)` in one of a few sizes, so that each is prepared once.
//!
//! A statement takes the next larger size; the values left over are not bound and are NULL to it. Every statement here
//! passes such rows over. Values are bound as they are, so octets and texts need no encoding.

use std::sync::{Arc, OnceLock};

use countersign_storage::StoreError;
use sqlx::error::BoxDynError;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection};

use crate::error::{inconsistent, unavailable};

/// Rows in a statement. 256 rows of 21 columns stay well below the 32766 parameters that SQLite takes.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];
const LARGEST: usize = 256;

/// A statement up to its rows and behind them.
pub(crate) struct Template {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: OnceLock<[Arc<str>; SIZES.len()]>,
}

impl Template {
    pub(crate) const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, columns, after, texts: OnceLock::new() }
    }

    #[cfg(test)]
    pub(crate) fn largest(&self) -> Arc<str> {
        self.text(LARGEST).unwrap()
    }

    fn text(&self, rows: usize) -> Option<Arc<str>> {
        let texts = self.texts.get_or_init(|| {
            let row = format!("({})", vec!["?"; self.columns].join(", "));
            SIZES.map(|size| {
                format!("{}(VALUES {}){}", self.before, vec![row.as_str(); size].join(", "), self.after).into()
            })
        });
        SIZES.iter().zip(texts).find(|(size, _)| **size >= rows).map(|(_, text)| Arc::clone(text))
    }
}

/// The values of one row, in the order of its columns.
pub(crate) type Values<'a> = &'a mut SqliteArguments;

/// Rows for a statement.
pub(crate) struct Rows {
    template: &'static Template,
    /// The last one is not full.
    parts: Vec<(SqliteArguments, usize)>,
}

impl Rows {
    pub(crate) const fn new(template: &'static Template) -> Self {
        Self { template, parts: Vec::new() }
    }

    pub(crate) fn push(&mut self, row: impl FnOnce(Values<'_>) -> Result<(), BoxDynError>) -> Result<(), StoreError> {
        let part = match self.parts.last_mut() {
            Some(part) if part.1 < LARGEST => part,
            _ => self.parts.push_mut((SqliteArguments::default(), 0)),
        };
        part.1 += 1;
        row(&mut part.0).map_err(|fault| unavailable(&fault))
    }

    /// The statements for all rows, with their numbers of rows.
    fn queries(&mut self) -> impl Iterator<Item = (Query<'static, Sqlite, SqliteArguments>, usize)> + use<> {
        let template = self.template;
        std::mem::take(&mut self.parts).into_iter().filter_map(move |(arguments, rows)| {
            // No statement is larger than the largest size, so there always is a text.
            let text = template.text(rows)?;
            Some((sqlx::query_with(AssertSqlSafe(text), arguments), rows))
        })
    }

    /// Writes all rows, which end with it, and requires that each changes one row of `table`.
    pub(crate) async fn write(&mut self, conn: &mut SqliteConnection, table: &'static str) -> Result<(), StoreError> {
        for (query, rows) in self.queries() {
            let changed = query.execute(&mut *conn).await.map_err(|fault| unavailable(&fault))?.rows_affected();
            if usize::try_from(changed).ok() != Some(rows) {
                let fault = format!("a write changed {changed} rows where {rows} were judged to hold");
                return Err(inconsistent(table, fault));
            }
        }
        Ok(())
    }

    /// What the statement finds for the rows, which end with it.
    pub(crate) async fn read(&mut self, conn: &mut SqliteConnection) -> Result<Vec<SqliteRow>, StoreError> {
        let mut found = Vec::new();
        for (query, _) in self.queries() {
            found.append(&mut query.fetch_all(&mut *conn).await.map_err(|fault| unavailable(&fault))?);
        }
        Ok(found)
    }
}

/// Adds values to a row.
macro_rules! bind {
    ($row:expr; $($value:expr),* $(,)?) => {{
        use sqlx::Arguments as _;
        $($row.add($value)?;)*
        Ok(())
    }};
}

pub(crate) use bind;
