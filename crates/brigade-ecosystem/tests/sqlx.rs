//! `sqlx` with SQLite, which insists on tokio: its pool waits with tokio's timers, its connections are threads.

use std::str::FromStr;

use brigade::task;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

const THREADS: usize = 20;
const ROUNDS: i64 = 10;

async fn open(path: &std::path::Path) -> sqlx::Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(&format!("sqlite://{}", path.display()))?
        .create_if_missing(true);
    // Fewer connections than threads, so that these wait for each other in the pool.
    let pool = SqlitePoolOptions::new()
        .max_connections(3)
        .connect_with(options)
        .await?;
    sqlx::query("create table entries (thread integer not null, round integer not null)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

async fn insert(pool: &SqlitePool, thread: i64) -> sqlx::Result<()> {
    for round in 0..ROUNDS {
        sqlx::query("insert into entries (thread, round) values (?, ?)")
            .bind(thread)
            .bind(round)
            .execute(pool)
            .await?;
    }
    Ok(())
}

#[test]
fn green_threads_share_a_pool_and_each_finds_what_it_wrote() {
    on_two_workers(|runtime| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("entries.db");
        let pool = task::tokio::block_on(open(&path)).expect("a database");
        let shared = pool.clone();
        let sums = on_green_threads(runtime, THREADS, move |index| {
            let thread = i64::try_from(index).expect("a small number");
            task::tokio::block_on(async {
                insert(&shared, thread).await?;
                let query = "select sum(round) from entries where thread = ?";
                let sum = sqlx::query_scalar::<_, i64>(query).bind(thread);
                sum.fetch_one(&shared).await
            })
            .expect("a sum")
        });
        assert_eq!(sums, [ROUNDS * (ROUNDS - 1) / 2; THREADS]);
        task::tokio::block_on(pool.close());
    });
}

#[test]
fn a_transaction_that_is_dropped_is_rolled_back() {
    on_two_workers(|runtime| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("entries.db");
        let left = runtime.spawn(move || {
            // The transaction is dropped inside of a task, where its rollback needs the runtime of tokio.
            let task = task::tokio::spawn(async move {
                let pool = open(&path).await?;
                let mut transaction = pool.begin().await?;
                sqlx::query("insert into entries (thread, round) values (1, 1)")
                    .execute(&mut *transaction)
                    .await?;
                drop(transaction);
                let query = sqlx::query_scalar::<_, i64>("select count(*) from entries");
                let left = query.fetch_one(&pool).await?;
                pool.close().await;
                Ok::<i64, sqlx::Error>(left)
            });
            task.join().expect("no panic")
        });
        assert_eq!(left.join().expect("no panic").expect("a count"), 0);
    });
}
