//! Text that one function writes into two formats: into plain strings, and directly into JSON.

/// Takes the pieces of a text, in order.
///
/// Go's JSON escapes some characters. The function that produces a text knows where they are, so
/// the receiver need not search for them: text passed to [`Prose::plain`] has none.
pub trait Prose {
    /// Appends text without a quotation mark, backslash, control character, `&`, `<` or `>`.
    fn plain(&mut self, text: &str);
    /// Appends a quotation mark.
    fn quote(&mut self);
    /// Appends an ampersand.
    fn ampersand(&mut self);

    /// Appends text between quotation marks.
    fn quoted(&mut self, text: &str) {
        self.quote();
        self.plain(text);
        self.quote();
    }

    /// Appends a UUID.
    fn id(&mut self, id: u128) {
        let mut text = [0; 36];
        self.plain(uuid::Uuid::from_u128(id).hyphenated().encode_lower(&mut text));
    }

    /// Appends a number in decimal digits.
    fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        self.plain(decimal(number, &mut digits));
    }
}

impl Prose for String {
    fn plain(&mut self, text: &str) {
        self.push_str(text);
    }

    fn quote(&mut self) {
        self.push('"');
    }

    fn ampersand(&mut self) {
        self.push('&');
    }
}

/// Collects the text that `tell` writes into a string.
pub fn told(tell: impl FnOnce(&mut String)) -> String {
    let mut text = String::new();
    tell(&mut text);
    text
}

/// Writes a number's decimal digits to the end of `digits`.
pub fn decimal(number: u64, digits: &mut [u8; 20]) -> &str {
    str::from_utf8(decimal_bytes(number, digits)).expect("digits are ASCII")
}

/// Does the same, but returns bytes.
pub(crate) fn decimal_bytes(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_everyone_writes_them() {
        for number in [0, 7, 10, 4_711, u64::MAX] {
            assert_eq!(told(|out| out.number(number)), number.to_string());
        }
    }
}
