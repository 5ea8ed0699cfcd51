/** In place of `bindings` in the bundle: it looks for a binary in a dozen places, and this one is known. */
module.exports = (name) => require(`better-sqlite3/build/Release/${name}`);
