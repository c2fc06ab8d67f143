//! The reader of transaction files.
//!
//! Never holds the file in memory, and never guesses: a row that cannot be read is an error that
//! names its line and column.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::read_error::ReadError;
use super::transaction::{Kind, Labelled, Place, Transaction};

/// Opens the transaction file at `path` and reads it row by row.
///
/// # Errors
///
/// If the file cannot be opened or lacks a column. A bad row is an `Err` of the iterator, which
/// continues after it.
pub fn read_csv(path: &Path) -> Result<Rows<File>, ReadError> {
    let file = File::open(path)
        .map_err(|source| ReadError::Open { path: path.display().to_string(), source })?;
    Rows::new(file)
}

/// The rows of a transaction file, in the order of the file.
#[derive(Debug)]
pub struct Rows<R> {
    reader: csv::Reader<R>,
    record: csv::StringRecord,
    columns: Columns,
}

impl<R: Read> Rows<R> {
    /// Reads the header; columns are found by name, whatever their order, and unknown ones are
    /// ignored.
    ///
    /// # Errors
    ///
    /// If the header cannot be read or lacks a column.
    pub fn new(input: R) -> Result<Self, ReadError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header = reader.headers().map_err(|source| ReadError::Row { line: 1, source })?;
        let columns = Columns::find(header)?;
        Ok(Self { reader, record: csv::StringRecord::new(), columns })
    }

    /// Does the file say which transactions are frauds? If not, every row is read as genuine, and
    /// precision and recall mean nothing.
    pub fn has_truth(&self) -> bool {
        self.columns.fraud.is_some()
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<Labelled, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.reader.position().line();
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => Some(self.columns.row(&self.record)),
            Err(source) => {
                let line = source.position().map_or(line, csv::Position::line);
                Some(Err(ReadError::Row { line, source }))
            }
        }
    }
}

/// A column of the file: its name and where it is.
#[derive(Clone, Copy, Debug)]
struct Column {
    name: &'static str,
    index: usize,
}

/// Where each column is.
#[derive(Debug)]
struct Columns {
    id: Column,
    time_s: Column,
    customer: Column,
    terminal: Column,
    amount: Column,
    kind: Column,
    shipping: [Column; 2],
    billing: [Column; 2],
    terminal_place: [Column; 2],
    fraud: Option<Column>,
    scenario: Option<Column>,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Self, ReadError> {
        let optional = |name| {
            let index =
                header.iter().position(|found| found.trim_start_matches('\u{feff}') == name)?;
            Some(Column { name, index })
        };
        let required = |name| optional(name).ok_or(ReadError::MissingColumn { column: name });
        Ok(Self {
            id: required("TRANSACTION_ID")?,
            time_s: required("TX_TIME_SECONDS")?,
            customer: required("CUSTOMER_ID")?,
            terminal: required("TERMINAL_ID")?,
            amount: required("TX_AMOUNT")?,
            kind: required("TX_TYPE")?,
            shipping: [required("TX_SHIPP_LAT")?, required("TX_SHIPP_LONG")?],
            billing: [required("TX_BILL_LAT")?, required("TX_BILL_LONG")?],
            terminal_place: [required("TX_TERM_LAT")?, required("TX_TERM_LONG")?],
            fraud: optional("TX_FRAUD"),
            scenario: optional("TX_FRAUD_SCENARIO"),
        })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Labelled, ReadError> {
        let transaction = Transaction {
            id: parse(record, self.id, |text| text.parse().ok())?,
            time_s: parse(record, self.time_s, |text| text.parse().ok())?,
            customer: parse(record, self.customer, |text| text.parse().ok())?,
            terminal: parse(record, self.terminal, |text| text.parse().ok())?,
            amount_cents: parse(record, self.amount, cents)?,
            kind: parse(record, self.kind, kind)?,
            shipping: place(record, self.shipping)?,
            billing: place(record, self.billing)?,
            terminal_place: place(record, self.terminal_place)?,
        };
        let fraud = match self.fraud {
            Some(column) => parse(record, column, flag)?,
            None => false,
        };
        let scenario = match self.scenario {
            Some(column) => parse(record, column, scenario)?,
            None => 0,
        };
        Ok(Labelled { transaction, fraud, scenario })
    }
}

fn parse<T>(
    record: &csv::StringRecord,
    column: Column,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ReadError> {
    let text = record.get(column.index).unwrap_or("");
    read(text).ok_or_else(|| ReadError::Field {
        line: record.position().map_or(0, csv::Position::line),
        column: column.name,
        found: text.to_owned(),
    })
}

fn place(record: &csv::StringRecord, [north, east]: [Column; 2]) -> Result<Place, ReadError> {
    Ok(Place {
        latitude: parse(record, north, |text| degrees(text, 90.0))?,
        longitude: parse(record, east, |text| degrees(text, 180.0))?,
    })
}

fn degrees(text: &str, limit: f32) -> Option<f32> {
    let degrees: f32 = text.parse().ok()?;
    (degrees.abs() <= limit).then_some(degrees)
}

/// An amount like `57.49` in cents.
fn cents(text: &str) -> Option<u64> {
    const LIMIT: f64 = 1e15;
    let amount: f64 = text.parse().ok()?;
    let cents = (amount * 100.0).round();
    (0.0..LIMIT).contains(&cents).then_some(cents as u64)
}

fn kind(text: &str) -> Option<Kind> {
    match text {
        "CP" => Some(Kind::CardPresent),
        "CNP" => Some(Kind::CardNotPresent),
        _ => None,
    }
}

fn scenario(text: &str) -> Option<u8> {
    text.parse().ok().filter(|scenario| *scenario <= 4)
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "TRANSACTION_ID,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_TYPE,TX_SHIPP_LAT,TX_SHIPP_LONG,TX_BILL_LAT,TX_BILL_LONG,TX_TERM_LAT,TX_TERM_LONG,TX_TIME_SECONDS,TX_FRAUD,TX_FRAUD_SCENARIO";
    const ROW: &str = "7,154,924,57.49,CNP,-4.77898,-42.57109,-4.5,-42.5,-3.6901,-38.62218,13,1,3";

    fn read(text: &str) -> Vec<Result<Labelled, ReadError>> {
        Rows::new(text.as_bytes()).expect("the header is good").collect()
    }

    #[test]
    fn a_row_is_read_field_by_field() {
        let rows = read(&format!("{HEADER}\n{ROW}\n"));
        let row = rows[0].as_ref().expect("the row is good");
        assert_eq!(row.transaction.id, 7);
        assert_eq!(row.transaction.customer, 154);
        assert_eq!(row.transaction.terminal, 924);
        assert_eq!(row.transaction.amount_cents, 5749);
        assert_eq!(row.transaction.kind, Kind::CardNotPresent);
        assert_eq!(row.transaction.shipping.longitude, -42.57109);
        assert_eq!(row.transaction.time_s, 13);
        assert!(row.fraud);
        assert_eq!(row.scenario, 3);
    }

    #[test]
    fn the_order_of_the_columns_does_not_matter() {
        let backwards = |line: &str| line.split(',').rev().collect::<Vec<_>>().join(",");
        let rows = read(&format!("{}\n{}\n", backwards(HEADER), backwards(ROW)));
        let same = read(&format!("{HEADER}\n{ROW}\n"));
        assert_eq!(rows[0].as_ref().ok(), same[0].as_ref().ok());
    }

    #[test]
    fn a_bad_field_is_named_and_the_next_row_is_still_read() {
        let bad = ROW.replace("57.49", "many");
        let rows = read(&format!("{HEADER}\n{ROW}\n{bad}\n{ROW}\n"));
        let error = rows[1].as_ref().expect_err("the amount is bad");
        assert_eq!(error.to_string(), "line 3, column TX_AMOUNT: cannot read \"many\"");
        assert!(rows[2].is_ok());
    }

    #[test]
    fn a_cut_last_line_is_an_error_and_the_rows_before_it_are_read() {
        let rows = read(&format!("{HEADER}\n{ROW}\n7,154,92"));
        assert!(rows[0].is_ok());
        let error = rows[1].as_ref().expect_err("the line is cut");
        assert_eq!(error.to_string(), "line 3 is not a row of the transaction file");
    }

    #[test]
    fn a_missing_column_is_named() {
        let header = HEADER.replace("TX_BILL_LAT,", "");
        let error = Rows::new(header.as_bytes()).expect_err("a column is missing");
        assert_eq!(error.to_string(), "transaction file has no column TX_BILL_LAT");
    }

    #[test]
    fn a_file_without_the_truth_is_read_and_says_so() {
        let text = format!(
            "{}\n{}\n",
            HEADER.replace(",TX_FRAUD,TX_FRAUD_SCENARIO", ""),
            ROW.replace(",1,3", "")
        );
        let mut rows = Rows::new(text.as_bytes()).expect("the truth is optional");
        assert!(!rows.has_truth());
        assert!(matches!(rows.next(), Some(Ok(row)) if !row.fraud));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (good, bad) in [
            ("57.49", "-57.49"),
            ("57.49", "NaN"),
            ("-4.5", "-94.5"),
            ("-4.5", "NaN"),
            (",1,3", ",1,5"),
            (",1,3", ",2,3"),
        ] {
            assert!(read(&format!("{HEADER}\n{}\n", ROW.replace(good, bad)))[0].is_err(), "{bad}");
        }
    }
}
