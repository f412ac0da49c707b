use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A store that answers at once, and a platform behind a line.
struct House {
    records: Records,
    now: Instant,
    owed: BTreeSet<i64>,
    asked: BTreeSet<i64>,
    /// What went on the wire and is not answered yet, as the platform has it.
    unanswered: VecDeque<i64>,
    /// Everything that was answered: its number, and whether it was accepted.
    sent: Vec<(i64, bool)>,
    aside: Vec<i64>,
    newest: i64,
}

fn framed(id: i64) -> Framed {
    Framed { id: OutboxId(id), record: RecordId(id), seq: id as u32, frame: Arc::from(&b""[..]) }
}

impl House {
    fn new(backlog: i64) -> Self {
        let mut house = Self {
            records: Records::default(),
            now: Instant::now(),
            owed: (1..=backlog).collect(),
            asked: BTreeSet::new(),
            unanswered: VecDeque::new(),
            sent: Vec::new(),
            aside: Vec::new(),
            newest: backlog,
        };
        house.records.logged_in(house.now);
        house
    }

    /// A passage.
    fn make(&mut self) -> i64 {
        self.newest += 1;
        self.owed.insert(self.newest);
        self.records.wake();
        self.newest
    }

    fn ask(&mut self, ids: impl IntoIterator<Item = i64>) {
        self.asked.extend(ids);
        self.records.wake();
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn lose_line(&mut self, seconds: u64) {
        self.records.lost(self.now);
        self.unanswered.clear();
        self.pass(seconds);
        self.records.logged_in(self.now);
    }

    /// All that the store is asked.
    fn fetch(&mut self) {
        while let Some(fetch) = self.records.next_fetch(self.now) {
            match fetch {
                Fetch::Newest => {
                    let newest = self.owed.last().copied().map(OutboxId);
                    self.records.newest(newest, self.now);
                }
                Fetch::Record(Wanted { queue, after, upto }) => {
                    let from = if queue == Queue::Again { &self.asked } else { &self.owed };
                    let found = from
                        .iter()
                        .copied()
                        .find(|&id| after.is_none_or(|after| id > after.0))
                        .filter(|&id| upto.is_none_or(|upto| id <= upto.0));
                    let epoch = self.records.epoch();
                    self.records.fetched(queue, epoch, found.map(framed), self.now);
                }
            }
        }
    }

    /// Puts the next on the wire.
    fn send(&mut self) -> Option<i64> {
        self.fetch();
        let sent = self.records.next_to_send(self.now).map(|framed| framed.id.0);
        self.unanswered.extend(sent);
        self.fetch();
        sent
    }

    /// The number of the next that the platform answers: what it has got, or what is sent now.
    fn next(&mut self) -> Option<i64> {
        self.unanswered.front().copied().or_else(|| self.send())
    }

    /// Answers the oldest that the platform has got.
    fn answer(&mut self, answer: &Answer) {
        let id = self.unanswered.pop_front().unwrap();
        let (_, framed, follow) = self.records.answered(id as u32, answer, self.now).unwrap();
        assert_eq!(framed.id.0, id, "an answer belongs to what it answers");
        self.sent.push((id, answer.result == code::SUCCESS));
        match follow {
            Follow::Delivered(mark) => {
                if mark.again {
                    self.asked.remove(&mark.id.0)
                } else {
                    self.owed.remove(&mark.id.0)
                };
                self.records.marked(mark);
            }
            Follow::SetAside => self.aside.push(framed.id.0),
            Follow::Again => {}
        }
    }

    /// Sends one and has it accepted.
    fn deliver(&mut self) -> Option<i64> {
        let sent = self.next()?;
        self.answer(&Answer::success());
        Some(sent)
    }

    fn deliver_all(&mut self) -> Vec<i64> {
        std::iter::from_fn(|| self.deliver()).collect()
    }

    fn refuse(&mut self) -> Option<i64> {
        let sent = self.next()?;
        self.answer(&Answer::failure(104, "no"));
        Some(sent)
    }
}

#[test]
fn new_ones_and_the_backlog_take_turns_each_in_order() {
    let mut house = House::new(5);
    assert_eq!(house.deliver(), Some(1));
    for _ in 0..3 {
        house.make();
    }
    assert_eq!(house.deliver_all(), [6, 2, 7, 3, 8, 4, 5]);
    house.make();
    assert_eq!(house.deliver_all(), [9]);
}

#[test]
fn what_is_asked_again_comes_last_and_does_not_starve() {
    let mut house = House::new(12);
    house.fetch();
    house.ask([100, 101, 102, 103]);
    house.make();
    assert_eq!(house.deliver_all(), [13, 1, 2, 3, 100, 4, 5, 6, 101, 7, 8, 9, 102, 10, 11, 12, 103]);
    // Without a backlog it takes turns with the new ones.
    house.ask([104, 105, 106]);
    house.make();
    house.make();
    assert_eq!(house.deliver_all(), [14, 104, 15, 105, 106]);
}

#[test]
fn the_split_holds_over_short_losses_and_moves_on_after_long_ones() {
    let mut house = House::new(100);
    house.fetch();
    // A line that is lost after each second record.
    let mut sent = Vec::new();
    for _ in 0..4 {
        house.make();
        sent.extend([house.deliver().unwrap(), house.deliver().unwrap()]);
        house.send();
        house.lose_line(5);
    }
    assert_eq!(sent, [101, 1, 102, 2, 103, 3, 104, 4]);
    // One that was made while there was no line for a short time is as new.
    house.records.lost(house.now);
    house.make();
    house.pass(29);
    house.records.logged_in(house.now);
    assert_eq!(house.deliver(), Some(105));
    // After a long one it is backlog like all before it.
    house.records.lost(house.now);
    house.make();
    house.pass(30);
    house.records.logged_in(house.now);
    house.fetch();
    house.make();
    let rest = house.deliver_all();
    assert_eq!(rest[..3], [5, 107, 6]);
    assert_eq!(rest.last(), Some(&106));
}

#[test]
fn when_more_comes_than_goes_those_of_now_do_not_wait_behind_those_of_an_hour_ago() {
    let mut house = House::new(0);
    house.fetch();
    // Ten come while one goes, for ten minutes.
    for _ in 0..60 {
        for _ in 0..10 {
            house.make();
        }
        assert!(house.deliver().is_some());
        house.pass(10);
    }
    let waiting = house.newest - house.sent.len() as i64;
    assert!(waiting > 500);
    let last = house.make();
    let turns = (1..).find(|_| house.deliver() == Some(last)).unwrap();
    // Of the last 30 to 60 seconds there are up to 60, and as many others in between.
    assert!(turns <= 2 * 80, "{turns} turns");
    house.deliver_all();
    let delivered: BTreeSet<i64> = house.sent.iter().map(|(id, _)| *id).collect();
    assert_eq!(delivered.len(), house.sent.len(), "none twice");
    assert_eq!(delivered, (1..=last).collect());
}

#[test]
fn refused_three_times_it_lets_the_others_by_and_comes_again_in_a_review() {
    let mut house = House::new(3);
    for _ in 0..3 {
        assert_eq!(house.refuse(), Some(1));
        house.pass(2);
    }
    assert_eq!(house.aside, [1]);
    assert_eq!(house.deliver_all(), [2, 3]);
    assert!(house.records.has_set_aside());
    // A line that is lost every few seconds is no reason to try it each time.
    house.lose_line(5);
    assert_eq!(house.deliver_all(), [0; 0]);
    house.lose_line(61);
    assert_eq!(house.refuse(), Some(1), "one more try");
    assert_eq!(house.aside, [1], "and no second notice");
    house.pass(120);
    assert_eq!(house.deliver_all(), [0; 0]);
    house.records.begin_review(house.now);
    assert_eq!(house.deliver_all(), [1]);
    assert!(!house.records.has_set_aside());
}

#[test]
fn a_refused_record_of_the_backlog_does_not_hold_up_a_visitor() {
    let mut house = House::new(2);
    assert_eq!(house.refuse(), Some(1));
    let visitor = house.make();
    assert_eq!(house.deliver_all(), [visitor], "the backlog waits for a second, the visitor does not");
    house.pass(1);
    assert_eq!(house.deliver_all(), [1, 2]);
}

#[test]
fn a_platform_that_refuses_everything_is_not_rushed() {
    let mut house = House::new(10);
    let began = house.now;
    while house.aside.len() < 10 {
        match house.refuse() {
            Some(_) => {}
            None => house.now = house.records.due().unwrap(),
        }
    }
    assert_eq!(house.aside, (1..=10).collect::<Vec<_>>());
    assert!(house.now - began > Duration::from_secs(240), "after the seventh it waits a minute each time");
    assert_eq!(house.deliver_all(), [0; 0]);
}

#[test]
fn refused_records_take_a_bounded_room() {
    let mut house = House::new(REFUSED as i64 + 100);
    while house.aside.len() < REFUSED + 100 {
        match house.refuse() {
            Some(_) => {}
            None => house.now = house.records.due().unwrap(),
        }
    }
    assert_eq!(house.records.refused.len(), REFUSED);
}

#[test]
fn busy_is_no_refusal() {
    let mut house = House::new(1);
    for _ in 0..10 {
        assert_eq!(house.send(), Some(1));
        house.answer(&Answer { data: json!({"waitSeconds": 7}), ..Answer::failure(109, "") });
        assert_eq!(house.records.due(), Some(house.now + Duration::from_secs(7)));
        assert_eq!(house.send(), None);
        house.pass(7);
    }
    assert!(!house.records.has_set_aside());
    assert_eq!(house.send(), Some(1));
    house.answer(&Answer::busy(""));
    let visitor = house.make();
    assert_eq!(house.send(), None, "the platform wants nothing at all");
    house.pass(3);
    assert_eq!(house.deliver_all(), [visitor, 1]);
}

#[test]
fn what_is_acknowledged_is_not_sent_again_before_its_mark_is_on_the_disk() {
    let mut house = House::new(2);
    assert_eq!(house.send(), Some(1));
    let mark = Mark { id: OutboxId(1), again: false };
    let follow = house.records.answered(1, &Answer::success(), house.now).unwrap().2;
    assert_eq!(follow, Follow::Delivered(mark));
    house.lose_line(60);
    house.fetch();
    house.records.begin_review(house.now);
    // Still in the outbox, and found.
    house.records.lines[Queue::Backlog as usize].after = None;
    house.records.lines[Queue::Backlog as usize].ready = None;
    let Some(Fetch::Record(wanted)) = house.records.next_fetch(house.now) else { panic!("it reads") };
    assert_eq!(wanted, Wanted { queue: Queue::Backlog, after: None, upto: Some(OutboxId(2)) });
    let epoch = house.records.epoch();
    assert_eq!(house.records.fetched(wanted.queue, epoch, Some(framed(1)), house.now), Some(mark));
    assert_eq!(house.send(), Some(2));
}

#[test]
fn asked_again_it_is_marked_as_such_also_while_the_first_mark_is_missing() {
    let mut house = House::new(1);
    assert_eq!(house.send(), Some(1));
    house.records.answered(1, &Answer::success(), house.now).unwrap();
    house.ask([1]);
    assert_eq!(house.send(), Some(1), "it is wanted once more");
    let follow = house.records.answered(1, &Answer::success(), house.now).unwrap().2;
    assert_eq!(follow, Follow::Delivered(Mark { id: OutboxId(1), again: true }));
}

#[test]
fn what_was_read_before_a_loss_or_a_clearing_is_not_used() {
    let mut house = House::new(1);
    assert_eq!(house.records.next_fetch(house.now), Some(Fetch::Newest));
    house.records.newest(Some(OutboxId(1)), house.now);
    while house.records.next_fetch(house.now).is_some() {}
    let epoch = house.records.epoch();
    house.records.forget();
    house.records.fetched(Queue::Backlog, epoch, Some(framed(1)), house.now);
    assert!(house.records.next_to_send(house.now).is_none());
    assert_eq!(house.deliver_all(), [1], "as it still is in the store");
    // Cleared while it is on the wire, and then refused: it is gone.
    let mut house = House::new(1);
    house.send();
    house.owed.clear();
    house.records.forget();
    house.answer(&Answer::failure(104, "no"));
    house.pass(100);
    assert_eq!(house.send(), None);
}

#[test]
fn a_review_leaves_what_is_on_the_wire_and_an_answer_is_that_of_its_own_record() {
    let mut house = House::new(3);
    for _ in 0..3 {
        assert_eq!(house.refuse(), Some(1));
        house.pass(2);
    }
    assert_eq!(house.aside, [1]);
    assert_eq!(house.send(), Some(2));
    house.records.begin_review(house.now);
    assert_eq!(house.send(), None, "the second is still on the wire");
    assert!(
        house.records.answered(1, &Answer::success(), house.now).is_none(),
        "a late one is not its answer"
    );
    assert_eq!(house.refuse(), Some(2));
    house.pass(2);
    assert_eq!(house.deliver_all(), [2, 1, 3]);
    assert!(house.owed.is_empty());
}

#[test]
fn a_passage_after_the_clearing_is_sent_however_early_it_was_read() {
    // Read, and not sent yet.
    let mut house = House::new(3);
    assert_eq!(house.send(), Some(1));
    house.owed.clear();
    let visitor = house.make();
    house.fetch();
    house.records.forget();
    house.answer(&Answer::failure(104, "no"));
    assert_eq!(house.deliver_all(), [visitor]);
    // On the wire already.
    house.owed.clear();
    let visitor = house.make();
    assert_eq!(house.send(), Some(visitor));
    house.records.forget();
    house.fetch();
    house.answer(&Answer::failure(104, "no"));
    assert_eq!(house.deliver_all(), [visitor]);
    // Set aside.
    let visitor = house.make();
    for _ in 0..3 {
        assert_eq!(house.refuse(), Some(visitor));
        house.pass(2);
    }
    assert_eq!(house.deliver_all(), [0; 0]);
    house.records.forget();
    assert_eq!(house.deliver_all(), [visitor]);
    assert!(house.owed.is_empty());
}

#[test]
fn marks_that_failed_are_tried_again() {
    let mut house = House::new(1);
    house.send();
    house.records.answered(1, &Answer::success(), house.now).unwrap();
    let mark = Mark { id: OutboxId(1), again: false };
    assert!(house.records.mark_failed(mark, house.now));
    assert!(!house.records.mark_failed(mark, house.now), "it is told once");
    assert_eq!(house.records.marks_again(house.now), []);
    house.pass(5);
    assert_eq!(house.records.marks_again(house.now), [mark]);
    assert_eq!(house.records.marks_due(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Make,
    Ask(i64),
    Deliver(usize),
    Refuse,
    Busy,
    Send,
    SendAndLose(u64),
    Lose(u64),
    Pass(u64),
    Review,
    /// Everything is removed; so many passages come before that is known here.
    Clear(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Make),
        1 => (1000..1010_i64).prop_map(Step::Ask),
        4 => (1..4_usize).prop_map(Step::Deliver),
        2 => Just(Step::Refuse),
        1 => Just(Step::Busy),
        2 => Just(Step::Send),
        1 => (0..70_u64).prop_map(Step::SendAndLose),
        1 => (0..70_u64).prop_map(Step::Lose),
        2 => (1..40_u64).prop_map(Step::Pass),
        1 => Just(Step::Review),
        1 => (0..3_usize).prop_map(Step::Clear),
    ]
}

proptest! {
    /// Whatever happens, everything that is not cleared is accepted in the end, what was accepted is not sent again, and of what
    /// was never refused each queue keeps its order.
    #[test]
    fn nothing_is_lost_or_doubled(backlog in 0..20_i64, steps in prop::collection::vec(step(), 0..80)) {
        let mut house = House::new(backlog);
        let mut made = backlog;
        let mut asked: BTreeMap<i64, u32> = BTreeMap::new();
        let mut cleared: BTreeSet<i64> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Make => made = house.make(),
                Step::Ask(id) => {
                    if house.asked.insert(id) {
                        *asked.entry(id).or_default() += 1;
                    }
                    house.records.wake();
                }
                Step::Deliver(count) => for _ in 0..count { house.deliver(); },
                Step::Refuse => { house.refuse(); }
                Step::Busy => if house.next().is_some() { house.answer(&Answer::busy("")) },
                Step::Send => { house.send(); }
                Step::SendAndLose(seconds) => { house.send(); house.lose_line(seconds); }
                Step::Lose(seconds) => house.lose_line(seconds),
                Step::Pass(seconds) => house.pass(seconds),
                Step::Review => house.records.begin_review(house.now),
                Step::Clear(count) => {
                    cleared.append(&mut house.owed);
                    cleared.append(&mut house.asked);
                    for _ in 0..count { made = house.make(); }
                    house.fetch();
                    house.records.forget();
                }
            }
        }
        for _ in 0..3 {
            house.pass(400);
            house.records.begin_review(house.now);
            house.records.wake();
            house.deliver_all();
        }
        prop_assert!(house.owed.is_empty() && house.asked.is_empty(), "{:?} {:?}", house.owed, house.asked);
        let mut accepted: BTreeMap<i64, u32> = BTreeMap::new();
        for (id, _) in house.sent.iter().filter(|(_, accepted)| *accepted) {
            *accepted.entry(*id).or_default() += 1;
        }
        let expected: BTreeMap<i64, u32> = (1..=made).map(|id| (id, 1)).chain(asked).collect();
        for (id, times) in expected {
            let accepted = accepted.remove(&id).unwrap_or_default();
            // One that the platform had got when it was cleared counts.
            prop_assert!(
                accepted == times || accepted < times && cleared.contains(&id),
                "{id} {accepted} times instead of {times}"
            );
        }
        prop_assert!(accepted.is_empty());
        let refused: BTreeSet<i64> =
            house.sent.iter().filter(|(_, accepted)| !accepted).map(|(id, _)| *id).collect();
        let backlog: Vec<i64> = house
            .sent
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| *id <= backlog && !refused.contains(id))
            .collect();
        prop_assert!(backlog.is_sorted(), "{:?}", backlog);
    }

    /// A new record waits for one other at most.
    #[test]
    fn a_visitor_waits_for_one_record(backlog in 0..30_i64, before in 0..20_usize, asked in 0..5_i64) {
        let mut house = House::new(backlog);
        house.fetch();
        house.ask(1000..1000 + asked);
        for _ in 0..before {
            house.deliver();
        }
        let on_wire = house.send();
        let visitor = house.make();
        if on_wire.is_some() {
            house.answer(&Answer::success());
        }
        prop_assert_eq!(house.deliver(), Some(visitor));
    }
}
