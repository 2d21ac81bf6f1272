var r=class extends Error{name="ConfigTextError";line;constructor(e,n){super(n),this.line=e}};export{r as a};
