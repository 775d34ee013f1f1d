//! Columns as wide as their widest cell.

use std::fmt::Write as _;

/// Lines of a table; the last column is not padded, an empty cell is a dash.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(head.get(column).map_or(0, |head| head.len()))
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            let cell = if cell.is_empty() { "-" } else { cell };
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&mut head.iter().copied());
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["web".to_owned(), "Baking".to_owned(), "so it is".to_owned()],
            vec!["a-long-name".to_owned(), String::new(), "at rest".to_owned()],
        ];
        let wanted = "NAME          PHASE    MESSAGE\n\
                      web           Baking   so it is\n\
                      a-long-name   -        at rest\n";
        assert_eq!(table(&["NAME", "PHASE", "MESSAGE"], &rows), wanted);
    }
}
