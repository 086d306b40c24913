//! The shape of the source: how long files and functions may be, and that no two modules import each other.
//!
//! Each list of exceptions is exact: an exception that is no longer needed fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const LONGEST_FILE: usize = 450;
const LONGEST_FUNCTION: usize = 60;

/// Longer files, and why.
const LONGER_FILES: [(&str, &str); 1] =
    [("incumbent-apiserver/src/resources/types/core.rs", "generated")];

/// Longer functions, and why.
const LONGER_FUNCTIONS: [(&str, &str); 0] = [];

/// Modules that import each other and are to be untangled: a crate, the parent module, and the circle.
const CIRCLES: [(&str, &str, &[&str]); 0] = [];

/// Fields of logs that are printed by `Debug`, and why.
const DEBUG_FIELDS: [(&str, &str); 0] = [];

/// The floors of a crate, from the ground up: each imports only from those before it. The root may import all.
const FLOORS: [(&str, &[&str]); 1] =
    [("incumbent-cli", &["model", "flags", "runtime", "http", "dashboard", "commands", "cli"])];

#[test]
fn no_file_is_too_long_to_read_at_once() {
    let long = sources().into_iter().filter(|source| source.text.lines().count() > LONGEST_FILE);
    let long: BTreeSet<_> = long.map(|source| source.name).collect();
    let allowed = LONGER_FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(long, allowed, "files of more than {LONGEST_FILE} lines, and those that may be");
}

#[test]
fn every_function_fits_a_screen() {
    let mut long = BTreeSet::new();
    for source in sources() {
        let mut functions = Functions::default();
        functions.visit_file(&source.parsed);
        let too_long = functions.0.into_iter().filter(|(_, lines)| *lines > LONGEST_FUNCTION);
        long.extend(too_long.map(|(function, _)| format!("{}: {function}", source.name)));
    }
    let allowed = LONGER_FUNCTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(long, allowed, "functions of more than {LONGEST_FUNCTION} lines");
}

#[test]
fn no_field_of_a_log_is_a_debug_print() {
    let mut debug = BTreeSet::new();
    for source in sources() {
        let mut logs = Logs::default();
        logs.visit_file(&source.parsed);
        if logs.0 > 0 {
            debug.insert(source.name);
        }
    }
    let allowed = DEBUG_FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(debug, allowed, "files with a `?field` in a log, and those that may have one");
}

#[test]
fn no_two_modules_import_each_other() {
    let mut circles = BTreeSet::new();
    for (name, modules) in crates() {
        for (parent, circle) in modules.circles() {
            circles.insert((name.clone(), parent, circle));
        }
    }
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let allowed = CIRCLES
        .iter()
        .map(|(name, parent, circle)| ((*name).to_owned(), (*parent).to_owned(), named(circle)))
        .collect();
    assert_eq!(circles, allowed, "circles of imports");
}

#[test]
fn no_floor_imports_from_one_above_it() {
    let crates = crates();
    for (name, floors) in FLOORS {
        let modules = &crates[name];
        let there: BTreeSet<_> = modules.paths.iter().filter_map(|path| path.first()).collect();
        let known: BTreeSet<String> = floors.iter().map(|floor| (*floor).to_owned()).collect();
        assert_eq!(there, known.iter().collect(), "the floors of {name}");
        let height = |module: &Vec<String>| {
            floors.iter().position(|floor| module.first().is_some_and(|first| first == floor))
        };
        let upward = modules
            .imports
            .iter()
            .filter(|(from, to)| height(from).zip(height(to)).is_some_and(|(from, to)| from < to));
        let upward: Vec<_> =
            upward.map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::"))).collect();
        assert!(upward.is_empty(), "{name}: imports from a floor above: {upward:#?}");
    }
}

/// One file of the source.
struct Source {
    /// From the folder of the crates: `incumbent/src/driver.rs`.
    name: String,
    /// The crate, and the module in it.
    module: (String, Vec<String>),
    text: String,
    parsed: syn::File,
}

/// All that is shipped: no tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&root).unwrap() {
        list(&entry.unwrap().path().join("src"), &mut files);
    }
    files.sort();
    let source = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let module = module_of(&name);
        Source { name, module, text, parsed }
    };
    let sources: Vec<_> = files.into_iter().map(source).collect();
    let tests: Vec<_> = sources.iter().flat_map(test_modules).collect();
    let is_test = |source: &Source| {
        let (of, module) = &source.module;
        tests.iter().any(|(other, test)| other == of && module.starts_with(test))
    };
    sources.into_iter().filter(|source| !is_test(source)).collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => list(&path, files),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                files.push(path);
            }
            false => {}
        }
    }
}

/// `incumbent/src/route/label.rs` is `route::label` of the crate `incumbent`.
fn module_of(name: &str) -> (String, Vec<String>) {
    let (of, path) = name.split_once("/src/").unwrap();
    let path = path.strip_suffix(".rs").unwrap();
    let roots = ["lib", "main", "mod"];
    let module = path.split('/').filter(|part| !roots.contains(part)).map(str::to_owned);
    (of.to_owned(), module.collect())
}

/// The modules that a file declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<(String, Vec<String>)> {
    let declared = source.parsed.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if is_for_tests(&module.attrs) => Some(module.ident.to_string()),
        _ => None,
    });
    let (of, module) = &source.module;
    declared.map(|name| (of.clone(), [module.as_slice(), &[name]].concat())).collect()
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg = attribute.path().is_ident("cfg");
        is_cfg && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
    })
}

/// Each function's name and number of lines.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn add(&mut self, name: &syn::Ident, body: &impl Spanned, start: usize) {
        self.0.push((name.to_string(), body.span().end().line + 1 - start));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig.ident, &function.block, function.sig.span().start().line);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig.ident, &function.block, function.sig.span().start().line);
    }
}

/// How many fields of logs are printed by `Debug`.
#[derive(Default)]
struct Logs(usize);

impl<'ast> Visit<'ast> for Logs {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.segments.first().is_some_and(|first| first.ident == "tracing") {
            let fields = format!(", {}", call.tokens);
            self.0 += fields.matches(", ?").count() + fields.matches("= ?").count();
        }
    }
}

/// The modules of one crate, and what each imports.
#[derive(Default)]
struct Modules {
    paths: BTreeSet<Vec<String>>,
    /// Names that a module exports from others: `pub use driver::Driver` in the root.
    exports: BTreeMap<Vec<String>, Vec<String>>,
    imports: BTreeSet<(Vec<String>, Vec<String>)>,
}

fn crates() -> BTreeMap<String, Modules> {
    let mut crates = BTreeMap::<String, Modules>::new();
    let sources = sources();
    for source in &sources {
        let (of, module) = source.module.clone();
        crates.entry(of).or_default().paths.insert(module);
    }
    let mut uses = Vec::new();
    for source in &sources {
        let mut paths = Paths { module: source.module.1.clone(), found: Vec::new() };
        paths.visit_file(&source.parsed);
        uses.extend(paths.found.into_iter().map(|found| (&source.module, found)));
    }
    for ((of, module), found) in &uses {
        if let Some(name) = &found.exported_as {
            let name = [module.as_slice(), std::slice::from_ref(name)].concat();
            crates.get_mut(of).unwrap().exports.insert(name, found.path.clone());
        }
    }
    for ((of, module), found) in uses {
        let modules = crates.get_mut(of).unwrap();
        if let Some(imported) = modules.resolve(&found.path) {
            modules.imports.insert((module.clone(), imported));
        }
    }
    crates
}

impl Modules {
    /// The module in which the thing of this path is.
    fn resolve(&self, path: &[String]) -> Option<Vec<String>> {
        let mut path = path.to_vec();
        for _ in 0..8 {
            let exported = (0..=path.len()).rev().find_map(|length| {
                self.exports.get(&path[..length]).map(|target| (target, length))
            });
            let Some((target, length)) = exported else { break };
            path = [target.as_slice(), &path[length..]].concat();
        }
        (0..=path.len())
            .rev()
            .map(|length| path[..length].to_vec())
            .find(|p| self.paths.contains(p))
    }

    /// For each parent, the sets of its children that reach each other. A module and its own children may.
    fn circles(&self) -> Vec<(String, Vec<String>)> {
        let mut levels = BTreeMap::<Vec<String>, BTreeSet<(String, String)>>::new();
        for (from, to) in &self.imports {
            let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
            if let (Some(importer), Some(imported)) = (from.get(common), to.get(common)) {
                let level = levels.entry(from[..common].to_vec()).or_default();
                level.insert((importer.clone(), imported.clone()));
            }
        }
        let circles = levels.into_iter().flat_map(|(parent, edges)| {
            circles_of(&edges).into_iter().map(move |circle| (parent.join("::"), circle))
        });
        circles.collect()
    }
}

/// The sets of nodes of which each reaches all others.
fn circles_of(edges: &BTreeSet<(String, String)>) -> BTreeSet<Vec<String>> {
    let reached_from = |start: &String| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(node) = open.pop() {
            for (_, next) in edges.iter().filter(|(from, _)| *from == node) {
                if reached.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        reached
    };
    let nodes: BTreeSet<_> = edges.iter().map(|(from, _)| from.clone()).collect();
    let reach: BTreeMap<_, _> =
        nodes.iter().map(|node| (node.clone(), reached_from(node))).collect();
    let circle = |node: &String| -> Vec<String> {
        let others = reach[node]
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|reached| reached.contains(node)));
        others.cloned().collect()
    };
    nodes.iter().map(circle).filter(|circle| circle.len() > 1).collect()
}

/// The paths into its own crate that a file names.
struct Paths {
    module: Vec<String>,
    found: Vec<Found>,
}

struct Found {
    path: Vec<String>,
    exported_as: Option<String>,
}

impl Paths {
    /// The path from the root of the crate. `None` for other crates and for what is declared here.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        for part in rest {
            match part.as_str() {
                "super" => drop(base.pop()),
                other => base.push(other.to_owned()),
            }
        }
        Some(base)
    }

    fn add_tree(&mut self, tree: &syn::UseTree, before: &[String], is_public: bool) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        let (path, name) = match tree {
            syn::UseTree::Path(path) => {
                return self.add_tree(&path.tree, &with(&path.ident), is_public);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.add_tree(tree, before, is_public));
            }
            syn::UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            syn::UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            syn::UseTree::Glob(_) => (before.to_vec(), None),
        };
        // `pub use driver::Driver` beside `mod driver` is relative.
        let relative =
            || (is_public && path.len() > 1).then(|| [&self.module, path.as_slice()].concat());
        if let Some(path) = self.absolute(&path).or_else(relative) {
            let exported_as = name.filter(|_| is_public);
            self.found.push(Found { path, exported_as });
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.add_tree(&item.tree, &[], is_public);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if let Some(path) = self.absolute(&parts).filter(|_| parts.len() > 1) {
            self.found.push(Found { path, exported_as: None });
        }
        syn::visit::visit_path(self, path);
    }
}
