// Before the first paint: the reader's colour scheme, if one was chosen, and that scripts run at all.
document.documentElement.classList.add("scripted");
try {
  const scheme = localStorage.getItem("alexnet-theme");
  if (scheme === "light" || scheme === "dark") document.documentElement.dataset.theme = scheme;
} catch (error) { /* a browser may forbid storage for files; then the system's scheme holds */ }
