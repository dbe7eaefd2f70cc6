use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use super::*;

const PATH: &str = "/folder/file";
const OLD: &[u8] = b"what was";
const NEW: &[u8] = b"what will be";
/// A write takes so many bytes at most, so that one file is several writes.
const CHUNK: usize = 5;

/// What a file holds; None where there is none.
type Content = Option<Vec<u8>>;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    /// The power goes before this step.
    CutBefore(usize),
    /// The power goes after it.
    CutAfter(usize),
    /// It fails, with nothing done.
    Fails(usize, io::ErrorKind),
    None,
}

/// A disk with a cache in front of it, which is lost with the power.
#[derive(Default)]
struct State {
    /// What was written, and how much of it was synced.
    files: Vec<(Vec<u8>, usize)>,
    /// The folder as it is on the disk.
    durable: BTreeMap<PathBuf, usize>,
    /// What was done to it since; None is a removal.
    pending: Vec<(PathBuf, Option<usize>)>,
    steps: usize,
    dead: bool,
}

struct Model {
    state: Rc<RefCell<State>>,
    fault: Fault,
}

struct Handle {
    state: Rc<RefCell<State>>,
    at: PathBuf,
    file: usize,
    renamed: bool,
}

impl Model {
    fn new(old: Option<&[u8]>, fault: Fault) -> Self {
        let mut state = State::default();
        if let Some(old) = old {
            state.files.push((old.to_vec(), old.len()));
            state.durable.insert(PATH.into(), 0);
        }
        Self {
            state: Rc::new(RefCell::new(state)),
            fault,
        }
    }

    /// Does a step, unless the fault is here.
    fn step<T>(&self, act: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.state.borrow_mut();
        let step = state.steps;
        state.steps += 1;
        let cut = || io::Error::other("the power went");
        match self.fault {
            _ if state.dead => return Err(cut()),
            Fault::Fails(at, kind) if at == step => return Err(kind.into()),
            Fault::CutBefore(at) if at == step => {
                state.dead = true;
                return Err(cut());
            }
            _ => {}
        }
        let done = act(&mut state);
        if self.fault == Fault::CutAfter(step) {
            state.dead = true;
            return Err(cut());
        }
        Ok(done)
    }

    fn steps(&self) -> usize {
        self.state.borrow().steps
    }

    /// The names as a running program sees them.
    fn names(&self) -> BTreeMap<PathBuf, usize> {
        let state = self.state.borrow();
        let mut names = state.durable.clone();
        state
            .pending
            .iter()
            .for_each(|change| apply(&mut names, change));
        names
    }

    /// What a running program reads.
    fn read(&self) -> Content {
        let file = *self.names().get(Path::new(PATH))?;
        Some(self.state.borrow().files[file].0.clone())
    }

    /// Everything that may be read once the power is back: any of the folder's changes may have
    /// reached the disk without the others, and of a file any part beyond what was synced.
    fn outcomes(&self) -> BTreeSet<Content> {
        let state = self.state.borrow();
        let mut outcomes = BTreeSet::new();
        for reached in 0_u32..1 << state.pending.len() {
            let mut names = state.durable.clone();
            for (number, change) in state.pending.iter().enumerate() {
                if reached & (1 << number) != 0 {
                    apply(&mut names, change);
                }
            }
            match names.get(Path::new(PATH)) {
                None => _ = outcomes.insert(None),
                Some(file) => {
                    let (bytes, synced) = &state.files[*file];
                    let parts = *synced..=bytes.len();
                    outcomes.extend(parts.map(|length| Some(bytes[..length].to_vec())));
                }
            }
        }
        outcomes
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, (path, file): &(PathBuf, Option<usize>)) {
    match file {
        Some(file) => _ = names.insert(path.clone(), *file),
        None => _ = names.remove(path),
    }
}

impl Disk for Model {
    type File = Handle;

    fn create(&self, path: &Path) -> io::Result<Handle> {
        let at = path.with_file_name("temporary");
        let file = self.step(|state| {
            state.files.push((Vec::new(), 0));
            let file = state.files.len() - 1;
            state.pending.push((at.clone(), Some(file)));
            file
        })?;
        Ok(Handle {
            state: self.state.clone(),
            at,
            file,
            renamed: false,
        })
    }

    fn write(&self, handle: &mut Handle, bytes: &[u8]) -> io::Result<usize> {
        let some = &bytes[..bytes.len().min(CHUNK)];
        self.step(|state| state.files[handle.file].0.extend_from_slice(some))?;
        Ok(some.len())
    }

    fn sync(&self, handle: &Handle) -> io::Result<()> {
        self.step(|state| {
            let (bytes, synced) = &mut state.files[handle.file];
            *synced = bytes.len();
        })
    }

    fn rename(&self, mut handle: Handle, to: &Path) -> io::Result<()> {
        self.step(|state| {
            state.pending.push((to.to_owned(), Some(handle.file)));
            state.pending.push((handle.at.clone(), None));
        })?;
        handle.renamed = true;
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.step(|state| {
            for change in std::mem::take(&mut state.pending) {
                apply(&mut state.durable, &change);
            }
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.state.borrow_mut();
        if !self.renamed && !state.dead {
            state.pending.push((self.at.clone(), None));
        }
    }
}

fn set(contents: &[Option<&[u8]>]) -> BTreeSet<Content> {
    let contents = contents.iter();
    contents
        .map(|content| content.map(<[u8]>::to_vec))
        .collect()
}

fn replace_in(model: &Model) -> io::Result<()> {
    replace_on(model, Path::new(PATH), |file| file.write_all(NEW))
}

/// How many steps a replacement has.
fn all_steps() -> std::ops::Range<usize> {
    let model = Model::new(Some(OLD), Fault::None);
    replace_in(&model).unwrap();
    // Created, written in three parts, synced, renamed, the folder synced.
    assert_eq!(model.steps(), 7);
    0..model.steps()
}

#[test]
fn power_that_goes_at_any_step_leaves_the_old_file_or_the_new_one() {
    for old in [Some(OLD), None] {
        for step in all_steps() {
            for fault in [Fault::CutBefore(step), Fault::CutAfter(step)] {
                let model = Model::new(old, fault);

                replace_in(&model).unwrap_err();

                let outcomes = model.outcomes();
                assert!(
                    outcomes.is_subset(&set(&[old, Some(NEW)])),
                    "{fault:?}: {outcomes:?}"
                );
            }
        }
    }
}

#[test]
fn what_was_replaced_survives_a_loss_of_power() {
    for old in [Some(OLD), None] {
        let model = Model::new(old, Fault::None);
        replace_in(&model).unwrap();
        assert_eq!(model.outcomes(), set(&[Some(NEW)]));
    }
}

#[test]
fn a_step_that_fails_is_told_leaves_a_whole_file_and_nothing_beside_it() {
    let kinds = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::PermissionDenied,
    ];
    for kind in kinds {
        for step in all_steps() {
            let model = Model::new(Some(OLD), Fault::Fails(step, kind));

            let error = replace_in(&model).unwrap_err();

            assert_eq!(error.kind(), kind);
            let last = step + 1 == all_steps().end;
            let expected = if last { NEW } else { OLD };
            assert_eq!(model.read().as_deref(), Some(expected), "step {step}");
            assert_eq!(model.names().len(), 1, "step {step}");
            assert!(model.outcomes().is_subset(&set(&[Some(OLD), Some(NEW)])));
        }
    }
}

#[test]
fn a_write_that_was_interrupted_is_made_again() {
    for step in 1..=3 {
        let fault = Fault::Fails(step, io::ErrorKind::Interrupted);
        let model = Model::new(Some(OLD), fault);
        replace_in(&model).unwrap();
        assert_eq!(model.outcomes(), set(&[Some(NEW)]));
    }
}

/// The disk is one on which shortcuts show.
#[test]
fn a_replacement_that_leaves_out_a_sync_is_found_out() {
    let without_file_sync = Model::new(Some(OLD), Fault::None);
    let mut file = without_file_sync.create(Path::new(PATH)).unwrap();
    without_file_sync.write(&mut file, b"new").unwrap();
    without_file_sync.rename(file, Path::new(PATH)).unwrap();
    assert!(without_file_sync.outcomes().contains(&Some(Vec::new())));

    let without_folder_sync = Model::new(Some(OLD), Fault::None);
    let mut file = without_folder_sync.create(Path::new(PATH)).unwrap();
    without_folder_sync.write(&mut file, b"new").unwrap();
    without_folder_sync.sync(&file).unwrap();
    without_folder_sync.rename(file, Path::new(PATH)).unwrap();
    assert_eq!(
        without_folder_sync.outcomes(),
        set(&[Some(OLD), Some(b"new")])
    );
}

#[test]
fn the_systems_disk_does_as_much() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    for content in [OLD, NEW] {
        replace(&path, content).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_large_file_takes_its_place_when_it_is_finished_and_leaves_nothing_before() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, OLD).unwrap();

    let mut given_up = Replacement::begin(&path).unwrap();
    given_up.write_all(b"half").unwrap();
    drop(given_up);
    assert_eq!(std::fs::read(&path).unwrap(), OLD);
    let mut file = Replacement::begin(&path).unwrap();
    file.write_all(NEW).unwrap();
    file.finish().unwrap();

    assert_eq!(std::fs::read(&path).unwrap(), NEW);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_replacement_left_is_swept_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, OLD).unwrap();
    let left = System.create(&path).unwrap().keep().unwrap().1;
    let of_another = System.create(&path.with_added_extension("other")).unwrap();
    let by_hand = folder.path().join(".file.by-somebody.tmp");
    std::fs::write(&by_hand, NEW).unwrap();

    sweep(&path).unwrap();

    assert!(!left.exists());
    assert!(path.exists() && of_another.path().exists() && by_hand.exists());
    sweep(&folder.path().join("gone").join("file")).unwrap();
}

#[test]
fn a_file_with_the_longest_name_is_replaced_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("n".repeat(255));
    replace(&path, NEW).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), NEW);
}
