//! Which items of an old array live on in a new one.

/// In order of the new array; `Remove` stands where the old item stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Keep(usize),
    Remove(usize),
    Insert,
}

/// Larger tables are not worth the time: then items pair up by position. Ours: 500 × 500.
const CELLS_MAX: usize = 250_000;

/// The longest common subsequence stays; between its members old and new items pair up in order.
pub fn pair<T>(old: usize, new: &[T], alike: impl Fn(usize, &T) -> bool) -> Vec<Step> {
    let prefix = (0..old.min(new.len())).take_while(|n| alike(*n, &new[*n])).count();
    let (old_left, new_left) = (old - prefix, new.len() - prefix);
    let suffix = (1..=old_left.min(new_left)).take_while(|n| alike(old - n, &new[new.len() - n])).count();
    let middle = &new[prefix..new.len() - suffix];
    let mut steps: Vec<Step> = (0..prefix).map(Step::Keep).collect();
    let (mut i, mut j) = (0, 0);
    for (a, b) in common(old_left - suffix, middle, |n, it| alike(prefix + n, it)) {
        gap(&mut steps, prefix + i..prefix + a, b - j);
        steps.push(Step::Keep(prefix + a));
        (i, j) = (a + 1, b + 1);
    }
    gap(&mut steps, prefix + i..old - suffix, middle.len() - j);
    steps.extend((old - suffix..old).map(Step::Keep));
    steps
}

fn gap(steps: &mut Vec<Step>, old: std::ops::Range<usize>, new: usize) {
    let kept = old.len().min(new);
    steps.extend(old.clone().take(kept).map(Step::Keep));
    steps.extend(old.skip(kept).map(Step::Remove));
    steps.extend((kept..new).map(|_| Step::Insert));
}

fn common<T>(old: usize, new: &[T], alike: impl Fn(usize, &T) -> bool) -> Vec<(usize, usize)> {
    if old.saturating_mul(new.len()) > CELLS_MAX {
        return vec![];
    }
    let width = new.len() + 1;
    let mut longest = vec![0u16; (old + 1) * width];
    for i in (0..old).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if alike(i, &new[j]) {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (0, 0, vec![]);
    while i < old && j < new.len() {
        if alike(i, &new[j]) {
            found.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn survivors_are_found_wherever_they_moved_to() {
        let steps = |old: &str, new: &str| {
            let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
            pair(old.len(), &new, |n, it| old[n] == *it)
        };
        use Step::{Insert, Keep, Remove};
        assert_eq!(steps("abc", "abc"), [Keep(0), Keep(1), Keep(2)]);
        assert_eq!(steps("abc", "ac"), [Keep(0), Remove(1), Keep(2)]);
        assert_eq!(steps("abc", "abxc"), [Keep(0), Keep(1), Insert, Keep(2)]);
        assert_eq!(steps("abc", "axc"), [Keep(0), Keep(1), Keep(2)]);
        assert_eq!(steps("abcd", "bxd"), [Remove(0), Keep(1), Keep(2), Keep(3)]);
        assert_eq!(steps("", "ab"), [Insert, Insert]);
        assert_eq!(steps("ab", ""), [Remove(0), Remove(1)]);
    }
}
