// Before the page is painted, so not a module: the colours that were chosen, or the system's. theme.js has the button.
document.documentElement.dataset.theme = localStorage.getItem('tansy-theme') ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
