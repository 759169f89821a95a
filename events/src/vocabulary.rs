//! The words of a simulated world: people, companies, workloads and teams. All follow from the
//! seed.

use fake::Fake;
use fake::faker::company::en::Buzzword;
use fake::faker::name::en::{FirstName, LastName};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Word lists from which tenants take their names. Every word is a DNS-1123 label.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    pub first_names: Vec<String>,
    pub last_names: Vec<String>,
    pub companies: Vec<String>,
    /// What projects are named after.
    pub subjects: Vec<String>,
    pub workloads: Vec<String>,
    pub namespaces: Vec<String>,
    pub teams: Vec<String>,
}

impl Vocabulary {
    /// Makes the words of a seed. They are the same on every machine.
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let first_names = distinct(256, 16, || FirstName().fake_with_rng(&mut rng));
        let last_names = distinct(256, 16, || LastName().fake_with_rng(&mut rng));
        let names = distinct(160, 16, || LastName().fake_with_rng(&mut rng));
        let words = distinct(48, 10, || Buzzword().fake_with_rng(&mut rng));
        let paired = |left: &[String], right: &[&str]| -> Vec<String> {
            left.iter().flat_map(|l| right.iter().map(move |r| format!("{l}-{r}"))).collect()
        };
        Self {
            first_names,
            last_names,
            companies: paired(&names, &["labs", "retail", "bank", "cloud", "media"]),
            workloads: paired(&words, &["api", "web", "worker", "cache", "db", "gateway", "sync"]),
            namespaces: paired(&words[..24], &["prod", "staging", "dev"]),
            teams: words.iter().map(|word| format!("team-{word}")).collect(),
            subjects: words,
        }
    }
}

/// Draws words until `count` different labels are found, or the source seems to have no more.
fn distinct(count: usize, length_max: usize, mut word: impl FnMut() -> String) -> Vec<String> {
    let mut labels = Vec::with_capacity(count);
    for _ in 0..count * 50 {
        let label = label(&word());
        if label.len() >= 3 && label.len() <= length_max && !labels.contains(&label) {
            labels.push(label);
        }
        if labels.len() == count {
            break;
        }
    }
    labels
}

/// Keeps only the letters of a word, in lower case. The result is a DNS-1123 label, or empty.
fn label(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_has_one_vocabulary_and_another_has_another() {
        let words = |seed| Vocabulary::new(seed).workloads;
        assert_eq!(words(1), words(1));
        assert_ne!(words(1), words(2));
    }

    #[test]
    fn every_list_is_long_enough_to_tell_tenants_apart() {
        let words = Vocabulary::new(42);
        let lengths = [
            words.first_names.len(),
            words.last_names.len(),
            words.companies.len(),
            words.workloads.len(),
            words.namespaces.len(),
            words.teams.len(),
        ];
        let least = [200, 200, 500, 200, 60, 40];
        assert!(lengths.iter().zip(least).all(|(&has, least)| has >= least), "{lengths:?}");
    }
}
