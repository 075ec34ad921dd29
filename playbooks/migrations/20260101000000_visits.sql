-- A first table. Visitors of Supabase's own API see nothing of it: row-level security is on, and there is no policy.
create table visits (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    path text not null
);
alter table visits enable row level security;
