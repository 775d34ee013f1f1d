//! What is kept for the record of a trial is what was asked.

use tidegate::measure::queries;

use super::{Asked, Asking, ERRORS, Store, at, honest, wanted};

const MEMORY: &str =
    "{name: memory, threshold: {query: 'max(memory{pod=~\"$(pods)\"})', op: '<', limit: '1'}}";

#[tokio::test]
async fn the_queries_of_a_record_are_those_that_were_asked_with_their_instants() {
    let store = Store::start(honest).await;
    let asking = Asking::new(&store, &format!("{ERRORS}, {MEMORY}"));
    let recorded =
        |second| queries(&asking.resolved, &asking.spec, &asking.arms(), &wanted(), at(second));
    asking.look(64).await;
    let asked = store.asked();
    let names: Vec<_> = recorded(64).into_iter().map(|query| query.metric).collect();
    assert_eq!(names, ["errors", "errors", "memory"]);
    for query in recorded(64) {
        let is_it = |asked: &&Asked| {
            let instants = (query.from.timestamp(), query.to.timestamp(), query.step.num_seconds());
            asked.query == query.query && (asked.start, asked.end, asked.step) == instants
        };
        assert!(asked.iter().any(|asked| is_it(&asked)), "{query:?} is not in {asked:#?}");
    }
    assert_eq!(recorded(0), Vec::new(), "nothing was read yet");
}
