//! Tables for a terminal: columns as wide as their widest cell, without lines. Pure.

use comfy_table::CellAlignment;
use comfy_table::Table;
use comfy_table::presets::NOTHING;

pub(crate) use comfy_table::CellAlignment::{Left, Right};

/// Returns a table whose cells stand below the heads of their columns.
pub(crate) fn aligned<const N: usize>(
    heads: [(&str, CellAlignment); N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    const GAP: (u16, u16) = (0, 2);
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(heads.map(|(head, _)| head)).add_rows(rows);
    for (column, (_, alignment)) in table.column_iter_mut().zip(heads) {
        column.set_padding(GAP).set_cell_alignment(alignment);
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_line_up_whatever_is_in_them() {
        let rows = [["日本", "1"], ["é", "12,345"], ["", "–"]].map(|row| row.map(str::to_owned));
        let table = aligned([("name", Left), ("events", Right)], rows);
        expect![[r#"
            name  events
            日本       1
            é     12,345
                       –
        "#]]
        .assert_eq(&table);
    }
}
