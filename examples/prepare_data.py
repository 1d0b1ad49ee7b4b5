"""From a log of interactions and a table of items to a dataset that trainers, evaluation and the Hub read.

    # Amazon reviews, raw files as published (2014, 2018 or 2023)
    python examples/prepare_data.py --source amazon --amazon_version 2018 \
        --reviews Video_Games.json.gz --metadata meta_Video_Games.json.gz --output_dir games

    # Amazon's ratings alone (.csv), and more of an item's text
    python examples/prepare_data.py --source amazon --reviews ratings_Games.csv --metadata meta_Video_Games.json.gz \
        --attributes title brand category features description --min_rating 4 --output_dir games

    # any tables: CSV, TSV, parquet, JSON lines, Excel or RecBole's .inter and .item, compressed or not
    python examples/prepare_data.py --source table --interactions purchases.csv --items products.parquet \
        --user_column customer --item_column sku --timestamp_column bought_at --attributes name maker --output_dir shop
    ... --interactions 'logs/2024-*.csv' --delimiter ';' --encoding cp1252 --timestamp_format '%d.%m.%Y %H:%M'
    ... --interactions log.txt --delimiter '|' --names user_id item_id timestamp      # no header line
    ... --no_times                                                                    # the rows are in order

    # an unzipped MovieLens folder; the public Recformer replication's folder, whose splits are kept
    python examples/prepare_data.py --source movielens --folder ml-1m --output_dir movies
    python examples/prepare_data.py --source replication --folder Scientific --output_dir scientific

    # one of the paper's datasets, from a folder of raw 2018 files
    python examples/prepare_data.py --recipe paper-scientific --folder amazon_2018 --output_dir scientific

    # other splits; a tenth of the training sequences
    ... --split temporal --validation_from 2017-01-01 --test_from 2018-01-01
    ... --split cold_item --held_out_share 0.1          # writes output_dir/in_set and output_dir/cold
    ... --split users_held_out --validation_share 0.1 --test_share 0.1
    ... --low_resource_share 0.1

The output folder is written completely or not at all. `--push_to_hub name` also uploads it to a dataset repository.
"""

from __future__ import annotations

from recformer_hf.cli.commands.prepare import main

if __name__ == "__main__":
    main(prog="prepare_data.py")
