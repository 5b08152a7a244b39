"""Static routes that follow measured quality: what is decided (`policy`, pure) and the kernel's table (`kernel`)."""
