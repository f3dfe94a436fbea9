#!/bin/sh
# FOLDER (deploy/secrets) → the secrets of docker-compose.yml, one file each, made where they are missing. The folder is for
# its owner alone; the files in it are readable, since in a container another user reads them.
set -eu
cd "$(dirname "$0")"
folder=${1:-secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

random() { od -An -v -tx1 -N 32 /dev/urandom | tr -d ' \n'; }

keep() { # NAME: standard input becomes that file, if there is none
    if [ -s "$1" ]; then return; fi
    cat >"$1.new"
    chmod 444 "$1.new"
    mv "$1.new" "$1"
}

random | keep TALLY_SECRET
random | keep POSTGRES_PASSWORD
printf 'postgresql://postgres:%s@postgres:5432/postgres' "$(cat POSTGRES_PASSWORD)" | keep TALLY_POSTGRES_ADMIN

# Of the simulated PSPs. With real ones TALLY_PSPS holds what they gave you, and the service `simulator` goes.
north_key=$(random) south_key=$(random) north_secret=$(random) south_secret=$(random)
if [ ! -s TALLY_PSPS ]; then
    rm -f SIMULATOR_KEYS SIMULATOR_WEBHOOK_SECRETS
    printf '{"northpay": "%s", "southpay": "%s"}' "$north_key" "$south_key" | keep SIMULATOR_KEYS
    printf '{"northpay": "%s", "southpay": "%s"}' "$north_secret" "$south_secret" | keep SIMULATOR_WEBHOOK_SECRETS
    account() {
        printf '{"name": "%s", "adapter": "%s", "url": "http://simulator:8100/%s", "api_key": "%s", "webhook_secrets": ["%s"]}' \
            "$1" "$1" "$1" "$2" "$3"
    }
    { printf '[' && account northpay "$north_key" "$north_secret" && printf ', ' &&
        account southpay "$south_key" "$south_secret" && printf ']'; } | keep TALLY_PSPS
fi

# Of the simulated provider of pay-outs, likewise; none where its simulator is not used.
if [ ! -s TALLY_PAYOUT_PROVIDERS ] && [ -s SIMULATOR_KEYS ]; then
    harbour_key=$(random) harbour_secret=$(random)
    add() { # NAME VALUE: into that file's JSON object
        sed "s/}\$/, \"harbour\": \"$2\"}/" "$1" >"$1.new"
        chmod 444 "$1.new"
        mv "$1.new" "$1"
    }
    add SIMULATOR_KEYS "$harbour_key"
    add SIMULATOR_WEBHOOK_SECRETS "$harbour_secret"
    printf '[{"name": "harbour", "adapter": "harbour", "url": "http://simulator:8100/harbour", "api_key": "%s", "webhook_secrets": ["%s"], "bank_account": "main"}]' \
        "$harbour_key" "$harbour_secret" | keep TALLY_PAYOUT_PROVIDERS
fi
printf '[]' | keep TALLY_PAYOUT_PROVIDERS
