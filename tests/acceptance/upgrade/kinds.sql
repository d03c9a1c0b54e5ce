-- Objects of every kind that a dump can show; the tests compare dumps before and after an upgrade.
CREATE ROLE app LOGIN PASSWORD 'app' CONNECTION LIMIT 7 VALID UNTIL '2040-01-01';
CREATE ROLE readers;
GRANT readers TO app WITH ADMIN OPTION;
ALTER ROLE app SET search_path TO shop, public;
CREATE TABLESPACE fast LOCATION '/spaces/fast';
CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0 OWNER app;
CREATE DATABASE "odd ""name'" CONNECTION LIMIT 3;
ALTER DATABASE latin SET work_mem = '3MB';
ALTER ROLE app IN DATABASE latin SET jit = off;
CREATE SCHEMA shop AUTHORIZATION app;
CREATE EXTENSION hstore;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION btree_gist;
CREATE EXTENSION postgres_fdw;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN shop.positive AS integer CHECK (VALUE > 0);
CREATE TYPE shop.pair AS (a integer, b text);
CREATE TYPE shop.floats AS RANGE (subtype = float8);
CREATE COLLATION shop.german (provider = icu, locale = 'de-u-co-phonebk');
CREATE SEQUENCE shop.numbers START 100 INCREMENT 5;
CREATE TABLE shop.items (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE shop.german NOT NULL,
    price numeric(10, 2) CHECK (price >= 0),
    twice numeric GENERATED ALWAYS AS (price * 2) STORED,
    mood shop.mood DEFAULT 'ok',
    tags hstore,
    document jsonb,
    big text
);
INSERT INTO shop.items (name, price, tags, document, big)
    SELECT 'item ' || i, i, hstore('a', i::text), jsonb_build_object('i', i), repeat(md5(i::text), 300)
    FROM generate_series(1, 2000) AS i;
DELETE FROM shop.items WHERE id % 10 = 0;
CREATE INDEX ON shop.items USING gin (document);
CREATE INDEX ON shop.items USING gin (name gin_trgm_ops);
CREATE INDEX ON shop.items USING brin (price);
CREATE INDEX ON shop.items USING hash (mood);
CREATE UNIQUE INDEX partial ON shop.items (lower(name)) WHERE price > 5;
CREATE STATISTICS shop.more ON price, mood FROM shop.items;
CREATE TABLE shop.booked (room integer, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&));
INSERT INTO shop.booked VALUES (1, '[2026-01-01,2026-01-02)');
CREATE TABLE shop.events (at timestamptz NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE shop.events_2026 PARTITION OF shop.events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE shop.events_other PARTITION OF shop.events DEFAULT TABLESPACE fast;
INSERT INTO shop.events SELECT '2025-06-01'::timestamptz + i * interval '1 day', i FROM generate_series(1, 400) i;
CREATE TABLE shop.far TABLESPACE fast AS SELECT generate_series(1, 500) AS i;
ALTER TABLE shop.far ADD FOREIGN KEY (i) REFERENCES shop.items (id) NOT VALID;
CREATE UNLOGGED TABLE shop.quick AS SELECT 1 AS i;
CREATE TABLE shop.parent (a integer);
CREATE TABLE shop.child (b integer) INHERITS (shop.parent);
CREATE VIEW shop.cheap WITH (security_barrier) AS SELECT i.id, f.i AS far FROM shop.items i JOIN shop.far f ON f.i = i.id WHERE i.price < 10;
CREATE MATERIALIZED VIEW shop.sums AS SELECT i.mood, sum(f.i) FROM shop.items i JOIN shop.far f ON f.i = i.id GROUP BY i.mood;
CREATE RULE nothing AS ON DELETE TO shop.booked DO INSTEAD NOTHING;
CREATE FUNCTION shop.add(a integer, b integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE FUNCTION shop.noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE PROCEDURE shop.nothing() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE AGGREGATE shop.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE OPERATOR shop.@+@ (LEFTARG = integer, RIGHTARG = integer, FUNCTION = shop.add);
CREATE CAST (shop.pair AS text) WITH INOUT;
CREATE TRIGGER noted BEFORE UPDATE ON shop.items FOR EACH ROW WHEN (OLD.price <> NEW.price) EXECUTE FUNCTION shop.noted();
CREATE FUNCTION shop.heard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE EVENT TRIGGER heard ON ddl_command_start EXECUTE FUNCTION shop.heard();
ALTER EVENT TRIGGER heard DISABLE;
CREATE TEXT SEARCH CONFIGURATION shop.words (COPY = english);
CREATE PUBLICATION published FOR TABLE shop.items (id, name) WHERE (id > 5);
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere');
CREATE USER MAPPING FOR app SERVER elsewhere OPTIONS (user 'x', password 'y');
CREATE FOREIGN TABLE shop.there (i integer) SERVER elsewhere;
ALTER TABLE shop.items ENABLE ROW LEVEL SECURITY;
CREATE POLICY theirs ON shop.items FOR SELECT TO readers USING (price < 100);
GRANT SELECT (id, name) ON shop.items TO readers;
ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA shop GRANT SELECT ON TABLES TO readers;
COMMENT ON TABLE shop.items IS 'what we sell';
SELECT lo_from_bytea(4711, decode(repeat('00ff', 5000), 'hex'));
GRANT SELECT ON LARGE OBJECT 4711 TO readers;
COMMENT ON LARGE OBJECT 4711 IS 'large';
ALTER SYSTEM SET work_mem = '7MB';
ALTER SYSTEM SET old_snapshot_threshold = '1h';
\connect latin
CREATE TABLE old AS SELECT chr(228) AS letter;
