"""What finished results say: tables, statistics, pictures, pages, and published scores to hold them against."""
