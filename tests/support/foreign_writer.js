// The same as foreign_writer.py, in another language: for a machine with Node.js and its cassandra-driver (NODE_PATH).
const cassandra = require("cassandra-driver");
const [host, port, username, password, keyspace] = process.argv.slice(2);
const client = new cassandra.Client({
  contactPoints: [`${host}:${port}`], localDataCenter: "datacenter1", keyspace,
  authProvider: new cassandra.auth.PlainTextAuthProvider(username, password),
});
const draw = (n) => Math.floor(Math.random() * n);
const statements = [
  (p, c) => `DELETE FROM songs WHERE album = 'a${p}' AND track > ${c} AND track < ${c + 4}`,
  (p) => `DELETE FROM songs WHERE album = 'a${p}'`,
  (p, c) => `DELETE FROM songs WHERE album = 'a${p}' AND track = ${c}`,
  (p, c) => `UPDATE songs SET tags = tags + {'t${c}'} WHERE album = 'a${p}' AND track = ${c}`,
  (p, c) => `BEGIN BATCH INSERT INTO people (name, age) VALUES ('p${p}', ${c}); ` +
    `INSERT INTO songs (album, track, title) VALUES ('a${p}', ${c}, 'of p${p}'); APPLY BATCH`,
  (p, c) => `INSERT INTO people (name, age) VALUES ('p${p}', ${c}) IF NOT EXISTS`,
  (p, c, n) => `INSERT INTO songs (album, track, title) VALUES ('a${p}', ${c}, 'title ${n}')`,
];
(async () => {
  for (let n = 1; ; n++) {
    await client.execute(statements[Math.min(draw(8), 6)](draw(30), draw(20), n));
    if (n % 100 === 0) console.log(n);
  }
})();
