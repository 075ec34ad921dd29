-- Modelled on what a Supabase project has before anybody uses it, as far as migrations and backups meet it: the accounts
-- and schemas of Supabase's own services, the tables of accounts and files, the functions that policies ask. The accounts'
-- and tables' names and columns are those of github.com/supabase/postgres, migrations/schema-17.sql; there are more in a
-- real one.
create role postgres login createdb createrole bypassrls;
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role supabase_auth_admin nologin;
create role supabase_storage_admin nologin;
-- In a real project an extension lets this account make policies and triggers on tables that it does not own, and set this.
grant supabase_auth_admin, supabase_storage_admin to postgres;
grant set on parameter session_replication_role to postgres;
alter database postgres owner to postgres;
alter schema public owner to postgres;
grant usage on schema public to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role keeper in schema public
    grant all on tables to postgres, anon, authenticated, service_role;

create schema extensions;
create extension pgcrypto with schema extensions;
create extension "uuid-ossp" with schema extensions;
create extension pg_stat_statements with schema extensions;
grant execute on function extensions.pg_stat_statements_reset to postgres with grant option;
grant execute on function pg_catalog.pg_reload_conf() to postgres with grant option;

create schema auth;
create table auth.users (
    instance_id uuid,
    id uuid primary key,
    aud varchar(255),
    role varchar(255),
    email varchar(255) unique,
    encrypted_password varchar(255),
    last_sign_in_at timestamptz,
    raw_app_meta_data jsonb,
    raw_user_meta_data jsonb,
    created_at timestamptz,
    updated_at timestamptz
);
create table auth.refresh_tokens (
    id bigserial primary key,
    token varchar(255),
    user_id varchar(255),
    revoked boolean,
    created_at timestamptz,
    updated_at timestamptz
);
create table auth.schema_migrations (version varchar(255) primary key);
insert into auth.schema_migrations values ('00');
create function auth.uid() returns uuid language sql stable
    as $$ select nullif(current_setting('request.jwt.claim.sub', true), '')::uuid $$;
create function auth.role() returns text language sql stable
    as $$ select nullif(current_setting('request.jwt.claim.role', true), '') $$;

create schema storage;
create table storage.buckets (
    id text primary key,
    name text not null unique,
    owner uuid,
    created_at timestamptz default now(),
    updated_at timestamptz default now()
);
create table storage.objects (
    id uuid primary key default extensions.uuid_generate_v4(),
    bucket_id text references storage.buckets,
    name text,
    owner uuid,
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    metadata jsonb
);
alter table storage.objects enable row level security;
create table storage.migrations (id integer primary key, name varchar(100) not null);

alter table auth.users owner to supabase_auth_admin;
alter table auth.refresh_tokens owner to supabase_auth_admin;
alter table storage.buckets owner to supabase_storage_admin;
alter table storage.objects owner to supabase_storage_admin;
grant usage on schema auth, storage, extensions
    to postgres, anon, authenticated, service_role, supabase_auth_admin, supabase_storage_admin;
grant all on auth.users, auth.refresh_tokens, storage.buckets, storage.objects to postgres with grant option;
grant all on sequence auth.refresh_tokens_id_seq to postgres;
grant all on storage.buckets, storage.objects to anon, authenticated, service_role;

create publication supabase_realtime;
alter publication supabase_realtime owner to postgres;
