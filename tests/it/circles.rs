//! There are no circles of imports: files that import each other cannot be read or moved one by
//! one.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use crate::tidy::{DIRECTIONS, sources};

/// The files of a crate by module, each with the modules that it imports. Modules are written as
/// paths, like `sender/lane`.
type Imports = BTreeMap<String, BTreeSet<String>>;

/// Finds paths that begin with `crate`, `self` or `super` in a file, except in its tests.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        if matches!(path[0].as_str(), "crate" | "self" | "super") {
            self.found.push(path);
        }
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(before.to_vec()),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(before, tree));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// Returns the module that a path belongs to: the longest prefix of the path that has a file.
fn module_of(path: &[String], from: &str, modules: &BTreeSet<String>) -> Option<String> {
    let here: Vec<&str> = from.split('/').filter(|name| !name.is_empty()).collect();
    let supers = path.iter().take_while(|name| *name == "super").count();
    let begin = match path[0].as_str() {
        "crate" => &[][..],
        "self" => &here[..],
        _ => &here[..here.len().checked_sub(supers)?],
    };
    let rest = path.iter().skip(supers.max(1)).map(String::as_str);
    let whole: Vec<&str> = begin.iter().copied().chain(rest).collect();
    let ends = (1..=whole.len()).rev();
    ends.map(|end| whole[..end].join("/")).find(|module| modules.contains(module))
}

fn imports(files: &[(String, String)]) -> Imports {
    let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    let of_file = |(module, text): &(String, String)| {
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(text).unwrap());
        let used = paths.found.iter().filter_map(|path| module_of(path, module, &modules));
        (module.clone(), used.filter(|used| used != module).collect())
    };
    files.iter().map(of_file).collect()
}

/// Returns the modules that can be reached from a module. It contains the module itself only if
/// there is a circle.
fn reached(imports: &Imports, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in imports.get(module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    reached
}

/// Returns the sets of files that all reach each other.
fn circles(imports: &Imports) -> BTreeSet<BTreeSet<String>> {
    let all: BTreeMap<&String, BTreeSet<String>> =
        imports.keys().map(|module| (module, reached(imports, module))).collect();
    let is_mutual = |one: &String, other: &String| all[one].contains(other);
    let of_module = |module: &String| {
        let circle = all[module].iter().filter(|other| is_mutual(other, module));
        circle.cloned().collect::<BTreeSet<_>>()
    };
    all.keys().map(|module| of_module(module)).filter(|circle| !circle.is_empty()).collect()
}

/// Returns the modules of a crate that are files, without its root and its tests.
fn files_of(folder: &str) -> Vec<(String, String)> {
    let prefix = format!("{folder}/src/");
    let module = |path: &str| {
        let module = path.strip_prefix(&prefix)?.strip_suffix(".rs")?;
        let is_root = ["lib", "main"].contains(&module);
        let is_test = module.split('/').next_back() == Some("tests");
        (!is_root && !is_test).then(|| module.to_owned())
    };
    sources().into_iter().filter_map(|(path, text)| Some((module(&path)?, text))).collect()
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut found = Vec::new();
    for (folder, _) in DIRECTIONS {
        let files = files_of(folder);
        assert!(!files.is_empty(), "{folder} has no modules");
        let circles = circles(&imports(&files));
        found.extend(circles.into_iter().map(|circle| format!("{folder}: {circle:?}")));
    }
    assert!(found.is_empty(), "files that import each other:\n{}", found.join("\n"));
}

#[test]
fn circles_are_found_whatever_the_imports_look_like() {
    let file = |module: &str, text: &str| (module.to_owned(), text.to_owned());
    let files = [
        file("a", "use crate::{b::B, c};"),
        file("b", "mod one; fn f() -> crate::a::A { todo!() }"),
        file("b/one", "use super::super::d::D; #[cfg(test)] mod tests { use super::super::B; }"),
        file("c", "use self::inner::X; use super::d;"),
        file("c/inner", "use crate::c::Y as Z;"),
        file("d", "pub(super) struct D; pub use crate::e::*;"),
        file("e", "//! crate::d is named here in words only."),
    ];
    let circle =
        |modules: &[&str]| modules.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
    let expected: BTreeSet<BTreeSet<String>> =
        [circle(&["a", "b"]), circle(&["c", "c/inner"])].into();
    assert_eq!(circles(&imports(&files)), expected);
}
