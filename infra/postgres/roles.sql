-- Roles, schemas and grants of one Congvu database. Run as superuser inside that database, as often as one likes.
--
-- Guarantees: one schema and one job schema per service, all owned by congvu_owner, which runs the migrations. Each service's
-- own role can enter its own schemas and define nothing there; what it may do with which table, and what it may see or call
-- of another service, a migration grants by name. PUBLIC has nothing. Passwords are set elsewhere.

DO $$
DECLARE
  service text;
BEGIN
  -- Roles belong to the whole cluster: another database may be set up at the same moment.
  BEGIN
    CREATE ROLE congvu_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
  EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
  END;
  FOREACH service IN ARRAY ARRAY['directory', 'mailbox', 'certificate'] LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', 'congvu_' || service);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
    END;
  END LOOP;
END
$$;

-- The database itself: nobody connects unless named.
DO $$
DECLARE
  service text;
BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO congvu_owner', current_database());
  FOREACH service IN ARRAY ARRAY['directory', 'mailbox', 'certificate'] LOOP
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'congvu_' || service);
  END LOOP;
END
$$;

-- public holds extensions only; its functions and operators are found by the default search path.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO congvu_owner, congvu_directory, congvu_mailbox, congvu_certificate;

DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['unaccent', 'pg_trgm', 'pgcrypto', 'btree_gist'] LOOP
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = wanted) THEN
      EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA public', wanted);
    ELSE
      RAISE WARNING 'extension % is not part of this PostgreSQL', wanted;
    END IF;
  END LOOP;
END
$$;

-- A function is callable by PUBLIC unless this is taken back first, for all schemas at once.
ALTER DEFAULT PRIVILEGES FOR ROLE congvu_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

DO $$
DECLARE
  service text;
  schema_name text;
  role_name text;
BEGIN
  FOREACH service IN ARRAY ARRAY['directory', 'mailbox', 'certificate'] LOOP
    role_name := 'congvu_' || service;
    FOREACH schema_name IN ARRAY ARRAY[service, service || '_jobs'] LOOP
      EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION congvu_owner', schema_name);
      EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', schema_name);
      EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', schema_name, role_name);
    END LOOP;
  END LOOP;
END
$$;

-- No default privileges: what a service's role may do with a table stands in the migration that makes the table, so that
-- for example audit events can be added and never changed. The job queues' grants are made by packages/database.
