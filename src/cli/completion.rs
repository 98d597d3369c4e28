//! `completion`: what a shell needs to complete our command lines, made from the help that the commands give.
use super::{Context, fail, say};
use crate::base::files;
use argh::{EarlyExit, FromArgs};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// print a completion script
#[derive(FromArgs)]
#[argh(subcommand, name = "completion", help_triggers("-h", "--help", "help"))]
pub struct Completion {
    /// bash, zsh or fish (default zsh)
    #[argh(positional)]
    shell: Option<String>,
    /// the same
    #[argh(option, long = "shell", short = 's')]
    named: Option<String>,
    /// write all of them to completions/ in the state folder instead
    #[argh(switch)]
    write_state: bool,
}

/// A command, by its words: what may follow.
type Tree = BTreeMap<Vec<String>, Vec<String>>;

const SHELLS: [(&str, &str); 3] = [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")];

impl Completion {
    pub fn run(&self, context: &Context) -> ExitCode {
        let tree = tree();
        if self.write_state {
            let dir = context.paths.state.join("completions");
            for (shell, ending) in SHELLS {
                let file = dir.join(format!("{}.{ending}", context.name));
                let text = script(shell, &context.name, &tree).unwrap_or_default();
                if let Err(err) = files::write_atomic(&file, text.as_bytes()) {
                    return fail(&format!("cannot write {}: {err}", file.display()), 1);
                }
            }
            return say(&format!("Wrote {}", dir.display()));
        }
        let shell = self.shell.as_deref().or(self.named.as_deref()).unwrap_or("zsh");
        match script(shell, &context.name, &tree) {
            Some(text) => say(&text),
            None => fail(&format!("{shell}: use bash, zsh or fish"), 2),
        }
    }
}

fn script(shell: &str, name: &str, tree: &Tree) -> Option<String> {
    Some(match shell {
        "bash" => bash(name, tree),
        // zsh has what bash has, once it is asked to.
        "zsh" => {
            format!("#compdef {name}\nautoload -U +X bashcompinit && bashcompinit\n{}", bash(name, tree))
        }
        "fish" => fish(name, tree),
        _ => return None,
    })
}

/// Asks every command for its help, and reads from it what may follow.
fn tree() -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![vec![]];
    while let Some(words) = todo.pop() {
        let mut line = words.clone();
        line.push("--help".to_owned());
        let Err(EarlyExit { output, .. }) = super::parse("x", &line) else { continue };
        let next = follows(&output);
        for word in next.iter().filter(|it| !it.starts_with('-')) {
            let mut deeper = words.clone();
            deeper.push(word.clone());
            todo.push(deeper);
        }
        tree.insert(words, next);
    }
    tree
}

/// The first words of the lines under `Options:` and `Commands:`.
fn follows(help: &str) -> Vec<String> {
    let mut found = vec![];
    let mut section = "";
    for line in help.lines() {
        match line.trim_end() {
            it @ ("Options:" | "Commands:") => section = it,
            it if !it.starts_with(' ') => section = "",
            it if it.starts_with("  ") && !it.starts_with("   ") => {
                let words = it.split_whitespace().map(|it| it.trim_end_matches(','));
                let word = match section {
                    "Options:" => words.take(2).find(|it| it.starts_with("--")),
                    "Commands:" => words.take(1).next(),
                    _ => None,
                };
                found.extend(word.map(str::to_owned));
            }
            _ => {}
        }
    }
    found
}

fn bash(name: &str, tree: &Tree) -> String {
    let function = format!("_{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let cases: String = tree
        .iter()
        .map(|(words, next)| format!("    \"{}\") next=\"{}\" ;;\n", words.join(" "), next.join(" ")))
        .collect();
    format!(
        "{function}() {{\n  local at='' word next\n  for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do\n    \
         case \"$word\" in -*) ;; *) case \"${{at:+$at }}$word\" in\n{known}    esac ;; esac\n  done\n  case \"$at\" in\n{cases}    \
         *) next='' ;;\n  esac\n  COMPREPLY=($(compgen -W \"$next\" -- \"${{COMP_WORDS[COMP_CWORD]}}\"))\n}}\n\
         complete -o default -F {function} {name}\n",
        known = tree
            .keys()
            .filter(|it| !it.is_empty())
            .map(|it| format!("      \"{0}\") at=\"{0}\" ;;\n", it.join(" ")))
            .collect::<String>(),
    )
}

fn fish(name: &str, tree: &Tree) -> String {
    let mut lines = vec![format!("complete -c {name} -f")];
    for (words, next) in tree {
        // Where all the words stand, and none of those that go deeper.
        let deeper: Vec<&str> = next.iter().filter(|it| !it.starts_with('-')).map(String::as_str).collect();
        let mut condition: Vec<String> =
            words.iter().map(|it| format!("__fish_seen_subcommand_from {it}")).collect();
        if !deeper.is_empty() {
            condition.push(format!("not __fish_seen_subcommand_from {}", deeper.join(" ")));
        }
        let condition = condition.join("; and ");
        for word in next {
            let what = match word.strip_prefix("--") {
                Some(flag) => format!("-l {flag}"),
                None => format!("-a {word}"),
            };
            lines.push(format!("complete -c {name} -n '{condition}' {what}"));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn every_command_is_there() {
        let tree = tree();
        let next = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            tree.get(&words).unwrap_or_else(|| panic!("{line} is not there: {:?}", tree.keys())).clone()
        };
        assert!(next("").contains(&"gateway".to_owned()) && next("").contains(&"--profile".to_owned()));
        assert!(
            next("gateway").contains(&"install".to_owned()) && next("gateway").contains(&"--port".to_owned())
        );
        assert!(next("gateway install").contains(&"--force".to_owned()));
        assert!(next("models aliases").contains(&"add".to_owned()));
    }
}
